package commandsservice

import (
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestHealthOfStore: a connection is not enough to be ready.
func TestHealthOfStore(t *testing.T) {
	store := memoryStore(t)
	h := web.NewHealth(slog.New(slog.DiscardHandler), web.Check{Name: "database", Run: store.ping})
	h.Set(web.Ready)
	url := testkit.Serve(t, h.Handler(http.NotFoundHandler()))
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/readyz", "").Status)
	_, err := store.(*sqliteStore).db.Exec(`DROP TABLE platforms`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", url+"/readyz", "").Status)
	store.close()
	assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", url+"/readyz", "").Status)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/livez", "").Status)
}

func TestHealthOfService(t *testing.T) {
	cfg := testConfig(t)
	service := startService(t, cfg)
	service.waitReady(t)
	testkit.Eventually(t, "readiness", func() bool { return testkit.Send(t, "GET", service.URL+"/readyz", "").Status == http.StatusOK })
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", service.URL+"/livez", "").Status)
	metrics := testkit.Send(t, "GET", service.URL+"/metrics", "")
	assert.Equal(t, http.StatusOK, metrics.Status)
	for _, name := range []string{"http_server_request_duration_seconds_count", "http_server_requests_in_flight", "go_sql_", "go_goroutines"} {
		assert.Contains(t, metrics.Body, name)
	}
}
