// Package issuer issues tokens for a stage that runs on one's own machine. It gives
// one to everyone who asks, so it listens there only.
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Audience is whom the tokens are for.
	Audience = "microcomm"
	// Lifetime of a token: a day's work.
	Lifetime = 12 * time.Hour
)

// Scopes are those of final's services.
func Scopes() []string {
	return []string{"platforms:read", "platforms:write", "commands:read", "commands:write"}
}

// Issuer is a running issuer.
type Issuer struct {
	URL string // iss of its tokens

	server  *http.Server
	serving sync.WaitGroup

	mu   sync.Mutex
	keys []signingKey // the last one signs; the one before is still published
}

// signingKey is in memory alone: with a new issuer all tokens end.
type signingKey struct {
	id      string
	private *ecdsa.PrivateKey
}

// Start starts an issuer at an address of this machine, host:port. The caller must
// call Close.
func Start(address string) (*Issuer, error) {
	host, _, err := net.SplitHostPort(address)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the issuer gives a token to everyone who asks, so it listens on localhost only, and not at %s", address)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen for the issuer: %w", err)
	}
	i := &Issuer{URL: "http://" + net.JoinHostPort(host, fmt.Sprint(listener.Addr().(*net.TCPAddr).Port))}
	if err := i.Rotate(); err != nil {
		listener.Close()
		return nil, err
	}
	// A page of another site, open in the same browser, must not rotate the keys.
	handler := http.NewCrossOriginProtection().Handler(i.handler())
	i.server = &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	i.serving.Go(func() { _ = i.server.Serve(listener) }) // it ends by Close
	return i, nil
}

// Close ends the issuer.
func (i *Issuer) Close() {
	i.server.Close()
	i.serving.Wait()
}

// Settings are those of a service that accepts the issuer's tokens.
func (i *Issuer) Settings() []string {
	return []string{"AUTH_ISSUER=" + i.URL, "AUTH_AUDIENCE=" + Audience}
}

func (i *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	metadata := func(w http.ResponseWriter, _ *http.Request) {
		write(w, map[string]any{
			"issuer": i.URL, "jwks_uri": i.URL + "/keys", "token_endpoint": i.URL + "/token",
			"grant_types_supported": []string{"client_credentials"}, "scopes_supported": Scopes(),
		})
	}
	mux.HandleFunc("GET /.well-known/openid-configuration", metadata)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", metadata)
	mux.HandleFunc("GET /keys", i.publish)
	mux.HandleFunc("POST /token", i.issue)
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		if err := i.Rotate(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		write(w, map[string]string{"kid": i.keys[len(i.keys)-1].id})
	})
	return mux
}

func write(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(body)
}

// Rotate signs with a new key from now on. Tokens of the one before stay valid;
// those of an older one don't.
func (i *Issuer) Rotate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make a signing key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys[max(0, len(i.keys)-1):], signingKey{rand.Text()[:8], private})
	return nil
}

// publish returns the public keys (RFC 7517).
func (i *Issuer) publish(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var keys []map[string]string
	for _, key := range i.keys {
		point, err := key.private.PublicKey.Bytes()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		keys = append(keys, map[string]string{"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": key.id,
			"x": encode(point[1:33]), "y": encode(point[33:])})
	}
	write(w, map[string]any{"keys": keys})
}

// issue returns a token (RFC 6749, section 4.4), for whatever is asked for.
func (i *Issuer) issue(w http.ResponseWriter, r *http.Request) {
	scopes := strings.Fields(r.FormValue("scope"))
	if len(scopes) == 0 {
		scopes = Scopes()
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes(), scope) {
			w.WriteHeader(http.StatusBadRequest)
			write(w, map[string]string{"error": "invalid_scope", "error_description": "there is no scope " + scope})
			return
		}
	}
	subject := r.FormValue("client_id")
	if subject == "" {
		subject = "learner"
	}
	token, err := i.Token(subject, scopes...)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": int(Lifetime.Seconds()), "scope": strings.Join(scopes, " ")})
}

// Token returns a token for a subject with these scopes (RFC 9068), signed with ES256.
func (i *Issuer) Token(subject string, scopes ...string) (string, error) {
	i.mu.Lock()
	key := i.keys[len(i.keys)-1]
	i.mu.Unlock()
	header, _ := json.Marshal(map[string]string{"alg": "ES256", "typ": "at+jwt", "kid": key.id}) // texts never fail
	now := time.Now()
	claims, _ := json.Marshal(map[string]any{
		"iss": i.URL, "aud": Audience, "sub": subject, "client_id": subject, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(Lifetime).Unix(), "scope": strings.Join(scopes, " "),
	})
	text := encode(header) + "." + encode(claims)
	hash := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, key.private, hash[:])
	if err != nil {
		return "", fmt.Errorf("sign a token: %w", err)
	}
	return text + "." + encode(append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)), nil
}

func encode(text []byte) string { return base64.RawURLEncoding.EncodeToString(text) }
