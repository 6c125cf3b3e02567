package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// call sends a request and decodes the JSON of the response.
func call(t *testing.T, method, address string) (status int, body map[string]any) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, nil)
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.NoError(t, json.NewDecoder(response.Body).Decode(&body))
	return response.StatusCode, body
}

func decode(t *testing.T, text any) []byte {
	t.Helper()
	decoded, err := base64.RawURLEncoding.DecodeString(text.(string))
	require.NoError(t, err)
	return decoded
}

// verified returns the claims of a token if a published key has signed it, else nil.
func verified(t *testing.T, i *Issuer, token string) (claims map[string]any) {
	t.Helper()
	_, metadata := call(t, "GET", i.URL+"/.well-known/openid-configuration")
	assert.Equal(t, i.URL, metadata["issuer"])
	_, set := call(t, "GET", metadata["jwks_uri"].(string))
	parts := strings.Split(token, ".")
	hash := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	signature := decode(t, parts[2])
	for _, entry := range set["keys"].([]any) {
		key := entry.(map[string]any)
		public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, decode(t, key["x"]), decode(t, key["y"])))
		require.NoError(t, err)
		if ecdsa.Verify(public, hash[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
			require.NoError(t, json.Unmarshal(decode(t, parts[1]), &claims))
		}
	}
	return claims
}

func TestIssuer(t *testing.T) {
	i, err := Start("127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(i.Close)

	t.Run("issues a token for what is asked for", func(t *testing.T) {
		query := url.Values{"scope": {"platforms:read commands:read"}, "client_id": {"ann"}}
		status, body := call(t, "POST", i.URL+"/token?"+query.Encode())
		require.Equal(t, http.StatusOK, status)
		claims := verified(t, i, body["access_token"].(string))
		assert.Equal(t, i.URL, claims["iss"])
		assert.Equal(t, Audience, claims["aud"])
		assert.Equal(t, "ann", claims["sub"])
		assert.Equal(t, "platforms:read commands:read", claims["scope"])
	})

	t.Run("refuses a scope that no service knows", func(t *testing.T) {
		status, body := call(t, "POST", i.URL+"/token?scope=platforms")
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Equal(t, "invalid_scope", body["error"])
	})

	t.Run("a token outlives one rotation, and not two", func(t *testing.T) {
		token, err := i.Token("ann", "platforms:read")
		require.NoError(t, err)
		for _, valid := range []bool{true, false} {
			call(t, "POST", i.URL+"/rotate")
			assert.Equal(t, valid, verified(t, i, token) != nil)
		}
	})

	t.Run("does nothing for a page of another site", func(t *testing.T) {
		token, err := i.Token("ann", "platforms:read")
		require.NoError(t, err)
		for range 2 {
			request, err := http.NewRequestWithContext(t.Context(), "POST", i.URL+"/rotate", nil)
			require.NoError(t, err)
			request.Header.Set("Origin", "https://example.com")
			response, err := http.DefaultClient.Do(request)
			require.NoError(t, err)
			response.Body.Close()
			assert.Equal(t, http.StatusForbidden, response.StatusCode)
		}
		assert.NotNil(t, verified(t, i, token), "the token ended")
	})

	t.Run("listens on this machine only", func(t *testing.T) {
		for _, address := range []string{":0", "0.0.0.0:0", "192.0.2.1:0", "example.com:0", "localhost"} {
			_, err := Start(address)
			assert.Error(t, err, address)
		}
	})
}
