package requestid

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHandler(t *testing.T) {
	var handled string // the id that the handler saw
	server := httptest.NewServer(Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		handled = From(r.Context())
	})))
	defer server.Close()
	send := func(t *testing.T, ids ...string) string {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL, nil)
		require.NoError(t, err)
		request.Header["X-Request-Id"] = ids
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		response.Body.Close()
		returned := response.Header.Values(Header)
		require.Len(t, returned, 1)
		assert.Equal(t, handled, returned[0], "the handler and the client know the request by the same id")
		return returned[0]
	}

	for what, id := range map[string]string{
		"one character":   "x",
		"a UUID":          "6b2c5f1e-6a8e-4c55-9f0e-0a4f0d2f7a10",
		"punctuation":     `!"#$%&'()*+,-./:;<=>?@[\]^_{|}~`,
		"a blank inside":  "a b",
		"the longest one": strings.Repeat("x", 128),
	} {
		t.Run("accepts "+what, func(t *testing.T) { assert.Equal(t, id, send(t, id)) })
	}

	for what, id := range map[string]string{
		"none":                    "",
		"one that is too long":    strings.Repeat("x", 129),
		"a tab":                   "a\tb",
		"letters outside ASCII":   "é",
		"bytes that are not text": "\xff\xfe",
	} {
		t.Run("makes an id instead of "+what, func(t *testing.T) {
			made := send(t, id)
			assert.True(t, valid(made), made)
			assert.NotEqual(t, id, made)
			assert.NotEqual(t, made, send(t, id), "each request has its own")
		})
	}

	t.Run("accepts the first of two ids", func(t *testing.T) { assert.Equal(t, "a", send(t, "a", "b")) })
}

// TestValid has what no HTTP client sends: net/http refuses it before.
func TestValid(t *testing.T) {
	for _, id := range []string{"a\nb", "a\r\nSet-Cookie: x", "\x00", "\x1b[31m", "\x7f"} {
		assert.False(t, valid(id), "%q", id)
	}
}

func TestFromWithoutID(t *testing.T) {
	assert.Empty(t, From(t.Context()))
}
