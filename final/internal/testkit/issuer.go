package testkit

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// Audience is whom the tokens of an Issuer are for.
const Audience = "microcomm"

// Issuer issues tokens, of any kind that a test wants.
type Issuer struct {
	URL string

	mu    sync.Mutex
	keys  []map[string]any // what it publishes
	reads int
}

// NewIssuer starts an issuer without keys, which runs until the test ends.
func NewIssuer(t testing.TB) *Issuer {
	t.Helper()
	i := &Issuer{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": i.URL, "jwks_uri": i.URL + "/keys"})
	})
	mux.HandleFunc("GET /keys", func(w http.ResponseWriter, _ *http.Request) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.reads++
		_ = json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	})
	server := httptest.NewUnstartedServer(mux)
	i.URL = "http://" + server.Listener.Addr().String() // before the first request reads it
	server.Start()
	t.Cleanup(server.Close)
	return i
}

// Reads returns how often the keys have been read.
func (i *Issuer) Reads() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.reads
}

// SigningKey signs tokens.
type SigningKey struct {
	ID        string
	Algorithm string
	Private   crypto.Signer
}

// NewKey returns a new key for an algorithm, which is not published.
func NewKey(t testing.TB, id, algorithm string) SigningKey {
	t.Helper()
	var private crypto.Signer
	var err error
	switch algorithm {
	case "RS256", "PS256":
		private, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	default:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	}
	require.NoError(t, err)
	return SigningKey{id, algorithm, private}
}

// JWK returns the public key in JSON (RFC 7517).
func (k SigningKey) JWK() map[string]any {
	text := func(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
	jwk := map[string]any{"kid": k.ID, "use": "sig"}
	switch public := k.Private.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", text(public.N.Bytes()), text(big.NewInt(int64(public.E)).Bytes())
	case *ecdsa.PublicKey:
		point, _ := public.Bytes()
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", "P-256", text(point[1:33]), text(point[33:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", text(public)
	}
	return jwk
}

// Publish makes these the issuer's only keys.
func (i *Issuer) Publish(keys ...SigningKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = nil
	for _, key := range keys {
		i.keys = append(i.keys, key.JWK())
	}
}

// Claims returns those of a valid token of a subject with these scopes.
func (i *Issuer) Claims(subject, scope string) jwt.MapClaims {
	return jwt.MapClaims{"iss": i.URL, "aud": Audience, "sub": subject, "scope": scope, "exp": time.Now().Add(time.Hour).Unix()}
}

// Sign returns a token that is signed with key. Its header is that of an access
// token with the members of header instead.
func Sign(t testing.TB, key SigningKey, claims jwt.MapClaims, header map[string]any) string {
	t.Helper()
	token := jwt.NewWithClaims(jwt.GetSigningMethod(key.Algorithm), claims)
	token.Header["typ"], token.Header["kid"] = "at+jwt", key.ID
	maps.Copy(token.Header, header)
	maps.DeleteFunc(token.Header, func(_ string, value any) bool { return value == nil })
	text, err := token.SignedString(key.Private)
	require.NoError(t, err)
	return text
}
