package commandsservice

import (
	"fmt"
	"log/slog"
	"net/http"
	"strings"
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
	waitReadyz(t, url, http.StatusOK, "")
	_, err := store.(*sqliteStore).db.Exec(`DROP TABLE platforms`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", url+"/readyz", "").Status)
	store.close()
	assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", url+"/readyz", "").Status)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/livez", "").Status)
}

// waitReadyz returns the response of /readyz that has this status and part of a body.
// A probe may fail before: each of its checks has a second.
func waitReadyz(t testing.TB, url string, status int, part string) (r testkit.Response) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprint("a ", status, " of /readyz ", part), func() bool {
		r = testkit.Send(t, "GET", url+"/readyz", "")
		return r.Status == status && strings.Contains(r.Body, part)
	})
	return r
}

func TestHealthOfService(t *testing.T) {
	cfg := testConfig(t)
	service := startService(t, cfg)
	service.waitReady(t)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", service.URL+"/livez", "").Status)
	metrics := testkit.Send(t, "GET", service.URL+"/metrics", "")
	assert.Equal(t, http.StatusOK, metrics.Status)
	for _, name := range []string{"http_server_request_duration_seconds_count", "http_server_requests_in_flight", "go_sql_", "go_goroutines"} {
		assert.Contains(t, metrics.Body, name)
	}
}
