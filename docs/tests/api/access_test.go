package api

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// issuer signs tokens. It is no more of one than a service has to see.
type issuer struct {
	url string
	key ed25519.PrivateKey
}

const audience = "microcomm"

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"one","use":"sig","alg":"EdDSA","x":%q}]}`, base64.RawURLEncoding.EncodeToString(public))
	}))
	t.Cleanup(server.Close)
	return &issuer{server.URL, private}
}

// token returns an access token with that scope.
func (i *issuer) token(scope string) string {
	part := func(value map[string]any) string {
		text, _ := json.Marshal(value) // texts and numbers
		return base64.RawURLEncoding.EncodeToString(text)
	}
	now := time.Now().Unix()
	text := part(map[string]any{"alg": "EdDSA", "typ": "at+jwt", "kid": "one"}) + "." +
		part(map[string]any{"iss": i.url, "aud": audience, "sub": "test", "iat": now, "exp": now + 60, "scope": scope})
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(i.key, []byte(text)))
}

// guarded holds what the document says of tokens against the service with access
// control: who gets a 401, who a 403, and which scope is enough.
func (h *holding) guarded(t *testing.T, programs string, env []string) {
	t.Helper()
	issuer := newIssuer(t)
	open := h.service
	defer func() { h.service = open }()
	h.service = service{name: open.name, database: filepath.Join(t.TempDir(), "guarded.db")}
	h.start(t, programs, append(env, "AUTH_ISSUER="+issuer.url, "AUTH_JWKS_URL="+issuer.url, "AUTH_AUDIENCE="+audience)...)
	h.waitFor(t, "/readyz", http.StatusOK)
	for _, op := range h.operations() {
		scope, guarded := op.scope()
		r := op.provoke(http.StatusOK)[0]
		if !guarded {
			h.passes(t, r)
			continue
		}
		h.try(t, r, http.StatusUnauthorized)
		if scope != "" {
			h.try(t, r.with("Authorization", "Bearer "+issuer.token("other:scope")), http.StatusForbidden)
		}
		h.passes(t, r.with("Authorization", "Bearer "+issuer.token("other:scope "+scope)))
	}
}

// keyless expects a 503 for a token that the service cannot check, because its issuer
// does not respond.
func (h *holding) keyless(t *testing.T, programs string, env []string) {
	t.Helper()
	issuer := newIssuer(t)
	open := h.service
	defer func() { h.service = open }()
	h.service = service{name: open.name, database: filepath.Join(t.TempDir(), "keyless.db")}
	h.start(t, programs, append(env, "AUTH_ISSUER="+issuer.url, "AUTH_JWKS_URL=http://127.0.0.1:1/", "AUTH_AUDIENCE="+audience)...)
	h.waitFor(t, "/livez", http.StatusOK)
	for _, op := range h.operations() {
		if scope, guarded := op.scope(); guarded {
			h.try(t, op.provoke(http.StatusOK)[0].with("Authorization", "Bearer "+issuer.token(scope)), http.StatusServiceUnavailable)
		}
	}
}

// scope is what a token needs for the operation, "" for nothing but being one.
func (o operation) scope() (scope string, guarded bool) {
	if o.Security == nil {
		return "", false
	}
	for _, alternative := range *o.Security {
		for _, scopes := range alternative {
			scope, guarded = strings.Join(scopes, " "), true
		}
	}
	return scope, guarded
}

// passes expects that access control doesn't refuse a request.
func (h *holding) passes(t *testing.T, r request) {
	t.Helper()
	got, err := send(t.Context(), r.method, h.url+r.path, r.header, r.body)
	if err != nil {
		t.Fatal(err)
	}
	if got.status == http.StatusUnauthorized || got.status == http.StatusForbidden {
		h.errs = append(h.errs, fmt.Errorf("%s %s: %d %s: the document says that it may pass", r.method, r.path, got.status, got.body))
	}
}

// limited holds what the document says of rate limits against the service with one.
func (h *holding) limited(t *testing.T, programs string, env []string) {
	t.Helper()
	open := h.service
	defer func() { h.service = open }()
	h.service = service{name: open.name, database: filepath.Join(t.TempDir(), "limited.db")}
	h.start(t, programs, append(env, "HTTP_RATE_LIMIT=1")...)
	h.waitFor(t, "/readyz", http.StatusOK)
	for _, op := range h.operations() {
		documented := op.Responses.Status(http.StatusTooManyRequests) != nil
		r := op.provoke(http.StatusOK)[0]
		got := response{}
		// More than a burst, and more again on a machine that sends less than one a second.
		for i := 0; i < 5 || documented && got.status != http.StatusTooManyRequests && i < 50; i++ {
			var err error
			if got, err = send(t.Context(), r.method, h.url+r.path, r.header, r.body); err != nil {
				t.Fatal(err)
			}
		}
		if limited := got.status == http.StatusTooManyRequests; limited != documented {
			h.errs = append(h.errs, fmt.Errorf("%s, after five or more: %d; the document says otherwise", op.OperationID, got.status))
		} else if documented {
			if err := h.check(r, got); err != nil {
				h.errs = append(h.errs, err)
			}
		}
	}
}
