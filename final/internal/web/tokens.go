package web

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"microcomm/final/internal/tlsconfig"
)

// AccessConfig says which tokens are accepted. Without an issuer access control is off.
type AccessConfig struct {
	Issuer    string          // iss of a token, and where its keys are found
	Audience  string          // one of aud
	JWKSURL   string          // where the keys are instead; "": the issuer says where
	TokenType string          // typ in a token's header
	Leeway    time.Duration   // how far the issuer's clock may differ
	TLS       tlsconfig.Files // for the issuer's https URLs
}

// algorithms are those that a token may be signed with. A key of the issuer fits
// only some of them: the token does not choose.
func algorithms() []string { return []string{"RS256", "PS256", "ES256", "EdDSA"} }

// What is wrong with a token. The text is for the client, and quotes nothing of
// the token.
var (
	errNoToken    = errors.New("there is no token")
	errMalformed  = errors.New("the token is malformed")
	errSignature  = errors.New("the token is not signed by its issuer with an accepted algorithm")
	errUnknownKey = errors.New("the token is signed with a key that its issuer does not publish")
	errType       = errors.New("the token is not of the accepted type: is it an access token?")
)

// identity is what a valid token says.
type identity struct {
	subject string
	scopes  []string
	until   time.Time // when the token expires, leeway included
}

// tokens checks the tokens of requests.
type tokens struct {
	cfg      AccessConfig
	parser   *jwt.Parser
	keys     *keySet
	verified verifiedTokens
}

func newTokens(cfg AccessConfig, keys *keySet) *tokens {
	return &tokens{cfg: cfg, keys: keys, parser: jwt.NewParser(
		jwt.WithValidMethods(algorithms()), jwt.WithStrictDecoding(),
		jwt.WithIssuer(cfg.Issuer), jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(), jwt.WithLeeway(cfg.Leeway))}
}

// caller returns who sent r.
func (t *tokens) caller(r *http.Request) *caller {
	c := &caller{}
	token, err := bearerToken(r.Header)
	if err != nil {
		c.err = err
		return c
	}
	c.authorization = r.Header.Get("Authorization")
	c.identity, c.err = t.verify(r.Context(), token)
	return c
}

// bearerToken returns the token of a request (RFC 6750, section 2.1).
func bearerToken(header http.Header) (string, error) {
	values := header.Values("Authorization")
	if len(values) == 0 {
		return "", errNoToken
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 {
		return "", errMalformed // which of them counts?
	}
	if !strings.EqualFold(scheme, "Bearer") {
		return "", errNoToken
	}
	return strings.TrimLeft(token, " "), nil
}

// verify returns what token says if it is valid. A token that was found valid
// before is not parsed again: its signature alone takes longer than the rest of a GET.
func (t *tokens) verify(ctx context.Context, token string) (*identity, error) {
	hash := sha256.Sum256([]byte(token))
	if found := t.verified.get(hash, t.keys.current.Load()); found != nil {
		return found, nil
	}
	var said claims
	var keys *keyring
	_, err := t.parser.ParseWithClaims(token, &said, func(parsed *jwt.Token) (key any, err error) {
		if err := t.checkHeader(parsed.Header); err != nil {
			return nil, err
		}
		kid, _ := parsed.Header["kid"].(string)
		key, keys, err = t.keys.find(ctx, kid, parsed.Method.Alg())
		return key, err
	})
	if err != nil {
		return nil, reason(err)
	}
	who := &identity{subject: said.Subject, scopes: slices.Concat(said.Scope, said.SCP), until: said.ExpiresAt.Add(t.cfg.Leeway)}
	t.verified.put(hash, keys, who)
	return who, nil
}

// checkHeader checks what the parser leaves to its caller: the type, without which
// an ID token would do as well (RFC 9068, section 4), and extensions that have to be
// understood (RFC 7515, section 4.1.11).
func (t *tokens) checkHeader(header map[string]any) error {
	typ, _ := header["typ"].(string)
	if len(typ) > 12 && strings.EqualFold(typ[:12], "application/") {
		typ = typ[12:]
	}
	if !strings.EqualFold(typ, t.cfg.TokenType) {
		return errType
	}
	if _, ok := header["crit"]; ok {
		return errMalformed
	}
	return nil
}

// reason returns what is wrong with a token, in words that hold nothing of it.
func reason(err error) error {
	for _, known := range []error{errKeysUnknown, errUnknownKey, errType, errMalformed} {
		if errors.Is(err, known) {
			return known
		}
	}
	for _, known := range []struct {
		err  error
		text string
	}{
		{jwt.ErrTokenMalformed, errMalformed.Error()},
		{jwt.ErrTokenSignatureInvalid, errSignature.Error()},
		{jwt.ErrTokenUnverifiable, errSignature.Error()},
		{jwt.ErrTokenRequiredClaimMissing, "the token lacks iss, aud or exp"},
		{jwt.ErrTokenInvalidIssuer, "the token is from another issuer"},
		{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
		{jwt.ErrTokenExpired, "the token has expired"},
		{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	} {
		if errors.Is(err, known.err) {
			return errors.New(known.text)
		}
	}
	return errMalformed
}

// claims are those that are used.
type claims struct {
	jwt.RegisteredClaims
	Scope scopes `json:"scope"` // RFC 8693
	SCP   scopes `json:"scp"`   // the same at Entra ID and Okta
}

// UnmarshalJSON implements json.Unmarshaler. A time is a number (RFC 7519, section 2),
// which jwt would read from a text as well.
func (c *claims) UnmarshalJSON(text []byte) error {
	var times struct{ EXP, NBF, IAT *json.RawMessage }
	if err := json.Unmarshal(text, &times); err != nil {
		return err
	}
	for _, value := range []*json.RawMessage{times.EXP, times.NBF, times.IAT} {
		if value != nil && (*value)[0] == '"' {
			return errMalformed
		}
	}
	type plain claims // without this method
	return json.Unmarshal(text, (*plain)(c))
}

// scopes are a list, or one text with a blank between them.
type scopes []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scopes) UnmarshalJSON(text []byte) error {
	var joined string
	if json.Unmarshal(text, &joined) == nil {
		*s = strings.Fields(joined)
		return nil
	}
	return json.Unmarshal(text, (*[]string)(s))
}

// maxVerified bounds the tokens that are remembered.
const maxVerified = 4096

// verifiedTokens are tokens that were found valid, by their hash. It forgets all
// of them when the issuer's keys change. The zero value is ready to use.
type verifiedTokens struct {
	mu    sync.Mutex
	keys  *keyring
	known map[[sha256.Size]byte]*identity
}

// get returns what a token says that was verified with keys and has not expired, or nil.
func (v *verifiedTokens) get(hash [sha256.Size]byte, keys *keyring) *identity {
	v.mu.Lock()
	defer v.mu.Unlock()
	if who := v.known[hash]; who != nil && v.keys == keys && time.Now().Before(who.until) {
		return who
	}
	return nil
}

// put remembers what a token says that was verified with keys.
func (v *verifiedTokens) put(hash [sha256.Size]byte, keys *keyring, who *identity) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.keys != keys {
		v.keys, v.known = keys, map[[sha256.Size]byte]*identity{}
	}
	for other := range v.known { // any: maps are in no order
		if len(v.known) < maxVerified {
			break
		}
		delete(v.known, other)
	}
	v.known[hash] = who
}
