package web

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// fakeIssuer responds to a keySet in the test's own time, which no network has.
type fakeIssuer struct {
	mu    sync.Mutex
	ids   []string      // of the keys
	down  bool          // it refuses connections
	delay time.Duration // before each response
	metadata,
	keys int // how often each was read
}

const fakeURL = "https://issuer.test/realm"

func (f *fakeIssuer) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func (f *fakeIssuer) RoundTrip(r *http.Request) (*http.Response, error) {
	f.mu.Lock()
	delay := f.delay
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, errors.New("connection refused")
	}
	var body any
	switch r.URL.String() {
	case "https://issuer.test/.well-known/oauth-authorization-server/realm":
		f.metadata++
		body = map[string]string{"issuer": fakeURL, "jwks_uri": "https://issuer.test/keys"}
	case "https://issuer.test/keys":
		f.keys++
		var keys []map[string]string
		for _, id := range f.ids {
			public := ed25519.NewKeyFromSeed(bytes.Repeat([]byte(id[:1]), 32)).Public().(ed25519.PublicKey)
			keys = append(keys, map[string]string{"kty": "OKP", "crv": "Ed25519", "kid": id, "x": base64.RawURLEncoding.EncodeToString(public)})
		}
		body = map[string]any{"keys": keys}
	default:
		return &http.Response{StatusCode: http.StatusNotFound, Body: http.NoBody}, nil
	}
	text, err := json.Marshal(body)
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewReader(text))}, err
}

// inBubble calls test, in which time is fake, with the key set of an issuer that has the key a.
func inBubble(t *testing.T, issuer *fakeIssuer, test func(k *keySet, logged *testkit.LogCapture)) {
	synctest.Test(t, func(t *testing.T) {
		log, logged := testkit.CaptureLog()
		k, err := newKeySet(AccessConfig{Issuer: fakeURL}, log)
		require.NoError(t, err)
		k.client.Transport = issuer
		issuer.ids = []string{"a"}
		k.start()
		defer k.stop()
		synctest.Wait()
		test(k, logged)
	})
}

// found returns which error find returns for a key, and after how long.
func found(k *keySet, id string) (error, time.Duration) {
	began := time.Now()
	_, _, err := k.find(context.Background(), id, "EdDSA")
	return err, time.Since(began)
}

func TestKeySet(t *testing.T) {
	t.Run("finds the issuer's keys, and new ones without a restart", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			err, _ := found(k, "a")
			require.NoError(t, err)
			issuer.set(func() { issuer.ids = []string{"b"} })
			err, _ = found(k, "b")
			require.NoError(t, err)
			time.Sleep(unknownKeyPause)
			err, _ = found(k, "a")
			assert.ErrorIs(t, err, errUnknownKey, "it was withdrawn")
		})
	})

	t.Run("requests with a new key all wait for one refresh", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			issuer.set(func() { issuer.ids, issuer.delay = []string{"a", "b"}, 100*time.Millisecond })
			testkit.InParallel(t, 50, func(int) error { err, _ := found(k, "b"); return err })
			assert.Equal(t, 2, issuer.keys)
			assert.Equal(t, 1, issuer.metadata)
		})
	})

	t.Run("unknown keys cause one refresh in ten seconds", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			for range 2000 { // twenty seconds
				err, _ := found(k, "none")
				assert.ErrorIs(t, err, errUnknownKey)
				time.Sleep(10 * time.Millisecond)
			}
			assert.Equal(t, 3, issuer.keys)
		})
	})

	t.Run("no request waits longer than a second", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			issuer.set(func() { issuer.delay = time.Minute })
			err, took := found(k, "none")
			assert.ErrorIs(t, err, errUnknownKey)
			assert.Equal(t, unknownKeyWait, took)
			err, took = found(k, "a")
			assert.NoError(t, err)
			assert.Zero(t, took)
		})
	})

	t.Run("an issuer that is down at the start is found later", func(t *testing.T) {
		issuer := &fakeIssuer{down: true}
		inBubble(t, issuer, func(k *keySet, logged *testkit.LogCapture) {
			time.Sleep(time.Minute)
			err, took := found(k, "a")
			assert.ErrorIs(t, err, errKeysUnknown)
			assert.LessOrEqual(t, took, unknownKeyWait)
			assert.Len(t, logged.Lines("not read"), 1)
			issuer.set(func() { issuer.down = false })
			time.Sleep(2 * firstKeysRetry)
			err, _ = found(k, "a")
			assert.NoError(t, err)
			assert.Len(t, logged.Lines("read again"), 1)
		})
	})

	t.Run("an issuer that is down later makes no difference to known keys", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			issuer.set(func() { issuer.down = true })
			time.Sleep(24 * time.Hour)
			err, took := found(k, "a")
			assert.NoError(t, err)
			assert.Zero(t, took)
			issuer.set(func() { issuer.down, issuer.ids = false, []string{"b"} })
			time.Sleep(keysRetry)
			err, _ = found(k, "b")
			assert.NoError(t, err)
			assert.Equal(t, 2, issuer.metadata, "the keys may have moved")
		})
	})

	t.Run("keys that are withdrawn are noticed without a request", func(t *testing.T) {
		issuer := &fakeIssuer{}
		inBubble(t, issuer, func(k *keySet, _ *testkit.LogCapture) {
			before := k.current.Load()
			time.Sleep(keysLast + time.Second)
			assert.Same(t, before, k.current.Load(), "the same keys: what was verified stays")
			issuer.set(func() { issuer.ids = []string{"b"} })
			time.Sleep(keysLast)
			assert.Nil(t, k.current.Load().key("a", "EdDSA"))
		})
	})
}

func TestDiscovery(t *testing.T) {
	for name, row := range map[string]struct{ metadata, reason string }{
		"of another issuer":   {`{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`, "another issuer"},
		"without HTTPS":       {`{"issuer":"` + fakeURL + `","jwks_uri":"http://issuer.test/keys"}`, "not an https URL"},
		"without the address": {`{"issuer":"` + fakeURL + `"}`, "not an https URL"},
		"not JSON":            {`<html>`, "invalid character"},
		"too large":           {`"` + strings.Repeat("x", maxIssuerBody) + `"`, "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			log, _ := testkit.CaptureLog()
			k, err := newKeySet(AccessConfig{Issuer: fakeURL}, log)
			require.NoError(t, err)
			k.client.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(strings.NewReader(row.metadata))}, nil
			})
			assert.ErrorContains(t, k.refresh(t.Context()), row.reason)
			assert.Nil(t, k.current.Load())
		})
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestParseKeys(t *testing.T) {
	const ed = `{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"` // of RFC 8037
	keys, err := parseKeys([]byte(`{"keys":[` + ed + `},{"kty":"oct","k":"AAAA"},1,` + ed[:len(ed)-20] + `"}]}`))
	require.NoError(t, err)
	assert.NotNil(t, keys.key("k", "EdDSA"))
	assert.Nil(t, keys.key("k", "RS256"), "the algorithm has to fit the key")
	assert.Equal(t, 1, keys.size)

	for name, text := range map[string]string{
		"for encryption":        ed + `,"use":"enc"}`,
		"to sign":               ed + `,"key_ops":["sign"]}`,
		"for another algorithm": ed + `,"alg":"ES256"}`,
		"RSA with 1024 bits":    `{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 128)) + `","e":"AQAB"}`,
		"RSA with exponent 1":   `{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 256)) + `","e":"AQ"}`,
		"RSA with a huge e":     `{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{0xff}, 256)) + `","e":"AAAAAAEAAQ"}`,
		"no point of the curve": `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`,
		"a secret":              `{"kty":"oct","k":"AAAA","alg":"HS256"}`,
	} {
		_, err := parseKeys([]byte(`{"keys":[` + text + `]}`))
		assert.ErrorContains(t, err, "no key", name)
	}
}
