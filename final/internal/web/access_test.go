package web_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// accessConfig accepts the tokens of an issuer.
func accessConfig(issuer *testkit.Issuer) web.AccessConfig {
	return web.AccessConfig{Issuer: issuer.URL, Audience: testkit.Audience, TokenType: "at+jwt", Leeway: 30 * time.Second}
}

// guarded serves routes of each kind behind a guard that has its keys, and returns
// the URL and the log.
func guarded(t *testing.T, cfg web.GuardConfig) (string, *testkit.LogCapture) {
	t.Helper()
	log, logged := testkit.CaptureLog()
	guard, err := web.NewGuard(cfg, log)
	require.NoError(t, err)
	guard.Start()
	t.Cleanup(guard.Stop)
	for _, check := range guard.Checks() { // a request waits for the keys, but only for so long
		testkit.Eventually(t, check.Name, func() bool { return check.Run(t.Context()) == nil })
	}
	routes := web.NewRouter(guard, fail(log))
	answer := func(w http.ResponseWriter, r *http.Request) error {
		key, err := web.IdempotencyKey(r)
		if err != nil {
			return err
		}
		return web.WriteJSON(w, http.StatusOK, map[string]string{"subject": web.Subject(r.Context()), "key": key})
	}
	routes.Handle("/things", web.ByMethod{http.MethodGet: web.Needs("things:read", answer), http.MethodPost: web.Needs("things:write", answer)})
	routes.Handle("/any", web.ByMethod{http.MethodGet: web.Authenticated(answer)})
	routes.Handle("/public", web.ByMethod{http.MethodGet: web.Public(answer)})
	return testkit.Serve(t, routes), logged
}

// get sends a GET with a token, unless that is empty.
func get(t *testing.T, url, token string) testkit.Response {
	t.Helper()
	if token == "" {
		return testkit.Send(t, "GET", url, "")
	}
	return testkit.Send(t, "GET", url, "", "Authorization", "Bearer "+token)
}

func TestAccess(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	key := testkit.NewKey(t, "one", "ES256")
	issuer.Publish(key)
	url, logged := guarded(t, web.GuardConfig{Access: accessConfig(issuer)})
	token := testkit.Sign(t, key, issuer.Claims("ann", "other things:read"), nil)

	t.Run("a token with the scope is accepted, once and again", func(t *testing.T) {
		for range 2 {
			testkit.RequireJSON(t, get(t, url+"/things", token), http.StatusOK, `{"subject":"ann","key":""}`)
		}
		assert.Equal(t, http.StatusOK, testkit.Send(t, "HEAD", url+"/things/", "", "Authorization", "bearer  "+token).Status)
	})

	t.Run("without a token the response is a 401 that says how", func(t *testing.T) {
		for _, header := range [][]string{nil, {"Authorization", "Basic YTpi"}} {
			r := testkit.Send(t, "GET", url+"/things", "", header...)
			testkit.RequireProblem(t, r, http.StatusUnauthorized)
			assert.Equal(t, []string{"Bearer"}, r.Header.Values("WWW-Authenticate"))
		}
		assert.Equal(t, http.StatusUnauthorized, get(t, url+"/things?access_token="+token, "").Status)
	})

	t.Run("without the scope it is a 403 that names it", func(t *testing.T) {
		for _, scope := range []string{"things:read", "", "things:writeall xthings:write", "things:write-not", "THINGS:WRITE", "things:*"} {
			r := testkit.Send(t, "POST", url+"/things", "{}", "Authorization", "Bearer "+testkit.Sign(t, key, issuer.Claims("ann", scope), nil))
			testkit.RequireProblem(t, r, http.StatusForbidden)
			assert.Equal(t, []string{`Bearer error="insufficient_scope", scope="things:write"`}, r.Header.Values("WWW-Authenticate"))
		}
	})

	t.Run("any token will do where no scope is needed, and none where nothing is", func(t *testing.T) {
		assert.Equal(t, http.StatusOK, get(t, url+"/any", testkit.Sign(t, key, issuer.Claims("ann", ""), nil)).Status)
		assert.Equal(t, http.StatusUnauthorized, get(t, url+"/any", "").Status)
		assert.Equal(t, http.StatusOK, get(t, url+"/public", "").Status)
		assert.Equal(t, http.StatusOK, get(t, url+"/public", "wrong").Status)
	})

	t.Run("scopes may be a list, and be called scp", func(t *testing.T) {
		for _, claims := range []jwt.MapClaims{
			{"scp": "other things:read"}, {"scp": []string{"other", "things:read"}}, {"scope": []string{"things:read"}}, {"scope": "other", "scp": "things:read"},
		} {
			all := issuer.Claims("ann", "")
			maps.Copy(all, claims)
			assert.Equal(t, http.StatusOK, get(t, url+"/things", testkit.Sign(t, key, all, nil)).Status, claims)
		}
	})

	t.Run("the same idempotency key of two subjects is two keys", func(t *testing.T) {
		bob := testkit.Sign(t, key, issuer.Claims("bob", "things:read"), nil)
		send := func(token string) string {
			return testkit.Send(t, "GET", url+"/things", "", "Authorization", "Bearer "+token, "Idempotency-Key", "k").Body
		}
		assert.Equal(t, send(token), send(token))
		assert.NotEqual(t, strings.Split(send(token), `"subject"`)[0], strings.Split(send(bob), `"subject"`)[0])
	})

	assert.Empty(t, logged.Lines(token[:30]), "a token is never logged")
}

func TestInvalidTokens(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	key, other, unknown := testkit.NewKey(t, "rsa", "RS256"), testkit.NewKey(t, "ec", "ES256"), testkit.NewKey(t, "rsa", "RS256")
	issuer.Publish(key, other)
	url, logged := guarded(t, web.GuardConfig{Access: accessConfig(issuer)})

	signed := func(claims jwt.MapClaims, header map[string]any) string {
		all := issuer.Claims("ann", "things:read")
		maps.Copy(all, claims)
		maps.DeleteFunc(all, func(_ string, value any) bool { return value == nil })
		return testkit.Sign(t, key, all, header)
	}
	valid := signed(nil, nil)
	require.Equal(t, http.StatusOK, get(t, url+"/things", valid).Status)
	seconds := func(n int) int64 { return time.Now().Add(time.Duration(n) * time.Second).Unix() }
	part := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	parts := strings.Split(valid, ".")
	der, err := x509.MarshalPKIXPublicKey(key.Private.Public())
	require.NoError(t, err)
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	hmac := func(secret []byte) string {
		token := jwt.NewWithClaims(jwt.SigningMethodHS256, issuer.Claims("ann", "things:read"))
		token.Header["typ"], token.Header["kid"] = "at+jwt", key.ID
		text, err := token.SignedString(secret)
		require.NoError(t, err)
		return text
	}

	for name, row := range map[string]struct{ token, reason string }{
		"expired":                  {signed(jwt.MapClaims{"exp": seconds(-35)}, nil), "expired"},
		"without an expiry":        {signed(jwt.MapClaims{"exp": nil}, nil), "lacks"},
		"an expiry of long ago":    {signed(jwt.MapClaims{"exp": 0}, nil), ""},
		"an expiry that is huge":   {signed(jwt.MapClaims{"exp": "never"}, nil), "malformed"},
		"an expiry that is text":   {signed(jwt.MapClaims{"exp": fmt.Sprint(seconds(60))}, nil), "malformed"},
		"not valid yet":            {signed(jwt.MapClaims{"nbf": seconds(90)}, nil), "not valid yet"},
		"for another audience":     {signed(jwt.MapClaims{"aud": "other"}, nil), "audience"},
		"a part of the audience":   {signed(jwt.MapClaims{"aud": "micro"}, nil), "audience"},
		"for no audience":          {signed(jwt.MapClaims{"aud": nil}, nil), "aud"},
		"for an empty list":        {signed(jwt.MapClaims{"aud": []string{}}, nil), "aud"},
		"from another issuer":      {signed(jwt.MapClaims{"iss": "https://other.example"}, nil), "issuer"},
		"an issuer with a slash":   {signed(jwt.MapClaims{"iss": issuer.URL + "/"}, nil), "issuer"},
		"without an issuer":        {signed(jwt.MapClaims{"iss": nil}, nil), "iss"},
		"an ID token":              {signed(nil, map[string]any{"typ": "JWT"}), "type"},
		"without a type":           {signed(nil, map[string]any{"typ": nil}), "type"},
		"a type that is a number":  {signed(nil, map[string]any{"typ": 1}), "type"},
		"an extension":             {signed(nil, map[string]any{"crit": []string{"exp"}}), "malformed"},
		"a key that is unknown":    {signed(nil, map[string]any{"kid": "other"}), "key"},
		"without a key":            {signed(nil, map[string]any{"kid": nil}), "key"},
		"a key that is a list":     {signed(nil, map[string]any{"kid": []string{"rsa"}}), "key"},
		"a key that is a path":     {signed(nil, map[string]any{"kid": "../../../../etc/passwd"}), "key"},
		"a key that is a URL":      {signed(nil, map[string]any{"kid": issuer.URL + "/evil", "jku": issuer.URL + "/evil"}), "key"},
		"a key of its own":         {testkit.Sign(t, unknown, issuer.Claims("ann", "things:read"), map[string]any{"jwk": unknown.JWK()}), "signed"},
		"another's key":            {testkit.Sign(t, key, issuer.Claims("ann", "things:read"), map[string]any{"kid": "ec"}), "key"},
		"no algorithm":             {part(`{"alg":"none","typ":"at+jwt","kid":"rsa"}`) + "." + parts[1] + ".", "signed"},
		"no algorithm, odd case":   {part(`{"alg":"nOnE","typ":"at+jwt","kid":"rsa"}`) + "." + parts[1] + ".", "signed"},
		"an algorithm of ours not": {part(`{"alg":"RS512","typ":"at+jwt","kid":"rsa"}`) + "." + parts[1] + "." + parts[2], "signed"},
		"the public key as secret": {hmac(publicPEM), "signed"},
		"the public DER as secret": {hmac(der), "signed"},
		"an empty secret":          {hmac([]byte{}), "signed"},
		"other claims":             {parts[0] + "." + part(`{"scope":"things:read"}`) + "." + parts[2], "signed"},
		"no signature":             {parts[0] + "." + parts[1] + ".", "signed"},
		"two parts":                {parts[0] + "." + parts[1], "malformed"},
		"four parts":               {valid + ".x", "malformed"},
		"no JSON":                  {part("{") + "." + parts[1] + "." + parts[2], "malformed"},
		"claims that are null":     {parts[0] + "." + part("null") + "." + parts[2], "signed"},
		"padding":                  {parts[0] + "=." + parts[1] + "." + parts[2], "malformed"},
		"noise":                    {"\x80\xff!", "malformed"},
		"a blank in it":            {valid + " x", "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			r := get(t, url+"/things", row.token)
			p := testkit.RequireProblem(t, r, http.StatusUnauthorized)
			assert.Equal(t, []string{`Bearer error="invalid_token"`}, r.Header.Values("WWW-Authenticate"))
			assert.Contains(t, p.Detail, row.reason)
			assert.Empty(t, logged.Lines(parts[1][:20]))
		})
	}

	t.Run("two at once", func(t *testing.T) {
		request := testkit.NewRequest(t, "GET", url+"/things", nil)
		request.Header["Authorization"] = []string{"Bearer " + valid, "Bearer " + valid}
		assert.Equal(t, http.StatusUnauthorized, testkit.SendRequest(t, request).Status)
	})

	t.Run("clocks may differ by the leeway", func(t *testing.T) {
		for _, claims := range []jwt.MapClaims{{"exp": seconds(-5)}, {"nbf": seconds(20)}, {"iat": seconds(20)}, {"aud": []string{"other", testkit.Audience}}} {
			assert.Equal(t, http.StatusOK, get(t, url+"/things", signed(claims, nil)).Status, claims)
		}
	})
}

func TestAlgorithms(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	var keys []testkit.SigningKey
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		keys = append(keys, testkit.NewKey(t, algorithm, algorithm))
	}
	issuer.Publish(keys...)
	cfg := accessConfig(issuer)
	cfg.TokenType = "JWT"
	url, _ := guarded(t, web.GuardConfig{Access: cfg})
	for _, key := range keys {
		claims := issuer.Claims("ann", "things:read")
		for typ, status := range map[string]int{"JWT": http.StatusOK, "jwt": http.StatusOK, "at+jwt": http.StatusUnauthorized} {
			assert.Equal(t, status, get(t, url+"/things", testkit.Sign(t, key, claims, map[string]any{"typ": typ})).Status, key.Algorithm+" "+typ)
		}
	}
}

// TestGuardThatWasNotStarted: a service that cannot listen stops what it has not started.
func TestGuardThatWasNotStarted(t *testing.T) {
	log, _ := testkit.CaptureLog()
	guard, err := web.NewGuard(web.GuardConfig{Access: web.AccessConfig{Issuer: "https://issuer.example", Audience: "a"}}, log)
	require.NoError(t, err)
	guard.Stop()
}

func TestAccessIsOff(t *testing.T) {
	url, logged := guarded(t, web.GuardConfig{})
	testkit.RequireJSON(t, get(t, url+"/things", ""), http.StatusOK, `{"subject":"","key":""}`)
	assert.Equal(t, http.StatusOK, get(t, url+"/things", "wrong").Status)
	assert.Len(t, logged.Lines("access control off"), 1)
	_, logged = guarded(t, web.GuardConfig{Warned: true})
	assert.Empty(t, logged.Lines("access control off"), "another guard of the process warns")
}

// TestVerifiedTokenExpires: a token that was accepted before is not accepted forever.
func TestVerifiedTokenExpires(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	key := testkit.NewKey(t, "one", "EdDSA")
	issuer.Publish(key)
	cfg := accessConfig(issuer)
	cfg.Leeway = 0
	url, _ := guarded(t, web.GuardConfig{Access: cfg})
	var token string
	testkit.Eventually(t, "a token that is accepted", func() bool { // the first one, unless it takes as long as that lasts
		claims := issuer.Claims("ann", "things:read")
		claims["exp"] = float64(time.Now().Add(2*time.Second).UnixMilli()) / 1000
		token = testkit.Sign(t, key, claims, nil)
		return get(t, url+"/things", token).Status == http.StatusOK
	})
	testkit.Eventually(t, "the token expires", func() bool { return get(t, url+"/things", token).Status == http.StatusUnauthorized })
}

func TestRateLimitOfSubjects(t *testing.T) {
	issuer := testkit.NewIssuer(t)
	key := testkit.NewKey(t, "one", "EdDSA")
	issuer.Publish(key)
	url, _ := guarded(t, web.GuardConfig{Access: accessConfig(issuer), RateLimit: 1})
	for _, subject := range []string{"ann", "bob"} { // each has a burst of two, though both come from one address
		token := testkit.Sign(t, key, issuer.Claims(subject, "things:read"), nil)
		for i := range 2 {
			assert.Equal(t, http.StatusOK, get(t, url+"/things", token).Status, fmt.Sprint(subject, i))
		}
		var r testkit.Response
		testkit.Eventually(t, "a refusal", func() bool { // the next one, unless a second has passed
			r = get(t, url+"/things", token)
			return r.Status != http.StatusOK
		})
		testkit.RequireProblem(t, r, http.StatusTooManyRequests)
		assert.Equal(t, "1", r.Header.Get("Retry-After"))
	}
	assert.Equal(t, http.StatusUnauthorized, get(t, url+"/things", "").Status, "the address has a bucket of its own")
}
