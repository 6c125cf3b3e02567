package commandsservice

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	newHealthAPI := func(t *testing.T) (*health, http.Handler, commandStore) {
		api, store, _ := newAPI(t)
		h := newHealth(store.ping)
		return h, h.handler(api), store
	}
	wantUnavailable := func(t *testing.T, got answer) {
		t.Helper()
		wantProblem(t, got, http.StatusServiceUnavailable)
		assert.NotEmpty(t, got.header.Get("Retry-After"))
	}

	t.Run("starting: alive, not ready, and the API does not answer yet", func(t *testing.T) {
		_, api, _ := newHealthAPI(t)
		wantJSON(t, call(api, "GET", "/livez", ""), http.StatusOK, `{"status":"alive"}`)
		wantUnavailable(t, call(api, "GET", "/readyz", ""))
		wantUnavailable(t, call(api, "GET", "/api/c/platforms", ""))
		wantUnavailable(t, call(api, "POST", "/api/c/platforms", `{"id":4,"name":"x"}`))
	})

	t.Run("ready: alive and ready", func(t *testing.T) {
		h, api, _ := newHealthAPI(t)
		h.set("ready")
		wantJSON(t, call(api, "GET", "/livez", ""), http.StatusOK, `{"status":"alive"}`)
		wantJSON(t, call(api, "GET", "/readyz", ""), http.StatusOK, `{"status":"ready"}`)
		wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, "[]")
	})

	t.Run("a database that is away: alive, not ready", func(t *testing.T) {
		h, api, store := newHealthAPI(t)
		h.set("ready")
		require.NoError(t, store.close())
		assert.Equal(t, http.StatusOK, call(api, "GET", "/livez", "").status)
		got := call(api, "GET", "/readyz", "")
		wantUnavailable(t, got)
		assert.NotContains(t, got.body, "sql")
	})

	t.Run("a database that does not answer: not ready, and the probe waits no longer than it may", func(t *testing.T) {
		h := newHealth(func(ctx context.Context) error {
			_, bounded := ctx.Deadline()
			assert.True(t, bounded)
			return context.DeadlineExceeded
		})
		h.set("ready")
		wantUnavailable(t, call(h.handler(http.NotFoundHandler()), "GET", "/readyz", ""))
	})

	t.Run("stopping: alive, not ready, and requests are still answered", func(t *testing.T) {
		h, api, _ := newHealthAPI(t)
		h.set("stopping")
		assert.Equal(t, http.StatusOK, call(api, "GET", "/livez", "").status)
		wantUnavailable(t, call(api, "GET", "/readyz", ""))
		wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, "[]")
	})

	t.Run("a probe is a GET or a HEAD", func(t *testing.T) {
		h, api, _ := newHealthAPI(t)
		h.set("ready")
		for _, path := range []string{"/livez", "/readyz"} {
			assert.Equal(t, http.StatusOK, call(api, "HEAD", path, "").status)
			got := call(api, "POST", path, "{}")
			wantProblem(t, got, http.StatusMethodNotAllowed)
			assert.Equal(t, "GET, HEAD", got.header.Get("Allow"))
		}
	})
}

func TestRunAnswersProbes(t *testing.T) {
	service := startService(t, testConfig(t))
	assert.Equal(t, http.StatusOK, service.get(t, "/livez").status)
	assert.Equal(t, http.StatusOK, service.get(t, "/readyz").status, "whether or not anybody else is up")
}
