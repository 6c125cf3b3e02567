package commandsservice

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// databaseCheck is a check of a database that returns err.
func databaseCheck(err error) check {
	return check{name: "database", failing: "no response", run: func(context.Context) error { return err }}
}

func TestHealth(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	const ok, failing = `{"status":"ok"}`, `{"status":"failing","detail":"no response"}`

	for _, row := range []struct {
		state         string
		database      error
		readyz, other int
		status, check string // in the response of /readyz
	}{
		{"ready", nil, 200, 204, "ready", ok},
		{"ready", errors.New("secret"), 503, 204, "unavailable", failing}, // the API has its own response to that
		{"starting", nil, 503, 503, "starting", ok},
		{"starting", errors.New("secret"), 503, 503, "starting", failing},
		{"stopping", nil, 503, 204, "stopping", ok}, // what still comes is served
	} {
		what := row.state
		if row.database != nil {
			what += ", the database is away"
		}
		t.Run(what, func(t *testing.T) {
			h := newHealth(slog.New(slog.DiscardHandler), databaseCheck(row.database))
			if row.state != "starting" { // the state to begin with
				h.set(row.state)
			}
			url := serve(t, h.handler(api))
			for _, slash := range []string{"", "/"} {
				requireJSON(t, send(t, "GET", url+"/livez"+slash, ""), http.StatusOK, `{"status":"alive"}`)
				r := send(t, "GET", url+"/readyz"+slash, "")
				requireJSON(t, r, row.readyz, `{"status":"`+row.status+`","checks":{"database":`+row.check+`}}`)
				assert.Equal(t, row.readyz == http.StatusServiceUnavailable, r.header.Get("Retry-After") != "")
			}
			r := send(t, "GET", url+"/api/platforms", "")
			assert.Equal(t, row.other, r.status)
			if row.other == http.StatusServiceUnavailable {
				requireProblem(t, r, row.other)
				assert.NotEmpty(t, r.header.Get("Retry-After"))
			}
			r = send(t, "POST", url+"/livez", "")
			requireProblem(t, r, http.StatusMethodNotAllowed)
			assert.Equal(t, "GET, HEAD", r.header.Get("Allow"))
		})
	}

	t.Run("what is optional is reported, and no more", func(t *testing.T) {
		h := newHealth(slog.New(slog.DiscardHandler), databaseCheck(nil), check{name: "broker", failing: "not connected", optional: true,
			run: func(context.Context) error { return errors.New("away") }})
		h.set("ready")
		requireJSON(t, send(t, "GET", serve(t, h.handler(api))+"/readyz", ""), http.StatusOK,
			`{"status":"ready","checks":{"database":{"status":"ok"},"broker":{"status":"failing","detail":"not connected"}}}`)
	})

	t.Run("the cause is logged once when a check begins to fail, and its end", func(t *testing.T) {
		log, logged := captureLog()
		var cause error
		h := newHealth(log, check{name: "database", failing: "no response", run: func(context.Context) error { return cause }})
		h.set("ready")
		url := serve(t, h.handler(api))
		for n, err := range []error{nil, errors.New("the first cause"), nil, errors.New("the second cause")} {
			cause = err
			for range 3 {
				send(t, "GET", url+"/readyz", "")
			}
			assert.Len(t, logged.lines("check failing"), (n+1)/2)
			assert.Len(t, logged.lines("check passing again"), n/2)
		}
		assert.Len(t, logged.lines(`check=database error="the first cause"`), 1)
		assert.Len(t, logged.lines(`check=database error="the second cause"`), 1)
	})

	t.Run("a probe that does not wait is not a cause", func(t *testing.T) {
		log, logged := captureLog()
		h := newHealth(log, check{name: "database", run: func(ctx context.Context) error { return ctx.Err() }})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.handler(api).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/readyz", nil))
		assert.Empty(t, logged.lines("check failing"))
	})

	t.Run("a database that hangs does not hang the probe", func(t *testing.T) {
		h := newHealth(slog.New(slog.DiscardHandler), check{name: "database", run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		h.set("ready")
		assert.Equal(t, http.StatusServiceUnavailable, send(t, "GET", serve(t, h.handler(api))+"/readyz", "").status)
	})
}

// TestHealthOfStore: a connection is not enough to be ready.
func TestHealthOfStore(t *testing.T) {
	store := memoryStore(t)
	h := newHealth(slog.New(slog.DiscardHandler), check{name: "database", run: store.ping})
	h.set("ready")
	url := serve(t, h.handler(http.NotFoundHandler()))
	assert.Equal(t, http.StatusOK, send(t, "GET", url+"/readyz", "").status)
	_, err := store.(*sqliteStore).db.Exec(`DROP TABLE platforms`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, send(t, "GET", url+"/readyz", "").status)
	store.close()
	assert.Equal(t, http.StatusServiceUnavailable, send(t, "GET", url+"/readyz", "").status)
	assert.Equal(t, http.StatusOK, send(t, "GET", url+"/livez", "").status)
}

func TestHealthOfService(t *testing.T) {
	cfg := testConfig(t)
	service := startService(t, cfg)
	service.waitReady(t)
	eventually(t, "readiness", func() bool { return send(t, "GET", service.url+"/readyz", "").status == http.StatusOK })
	assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/livez", "").status)
	metrics := send(t, "GET", service.url+"/metrics", "")
	assert.Equal(t, http.StatusOK, metrics.status)
	for _, name := range []string{"http_server_request_duration_seconds_count", "http_server_requests_in_flight", "go_sql_", "go_goroutines"} {
		assert.Contains(t, metrics.body, name)
	}
}
