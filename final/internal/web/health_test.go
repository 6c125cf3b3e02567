package web

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"

	"microcomm/final/internal/testkit"
)

// databaseCheck is a check of a database that returns err.
func databaseCheck(err error) Check {
	return Check{Name: "database", Failing: "no response", Run: func(context.Context) error { return err }}
}

func TestHealth(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	const ok, failing = `{"status":"ok"}`, `{"status":"failing","detail":"no response"}`

	for _, row := range []struct {
		state         State
		database      error
		readyz, other int
		status, check string // in the response of /readyz
	}{
		{Ready, nil, 200, 204, "ready", ok},
		{Ready, errors.New("secret"), 503, 204, "unavailable", failing}, // the API has its own response to that
		{Starting, nil, 503, 503, "starting", ok},
		{Starting, errors.New("secret"), 503, 503, "starting", failing},
		{Stopping, nil, 503, 204, "stopping", ok}, // requests that still arrive are served
	} {
		what := row.state.String()
		if row.database != nil {
			what += ", the database is down"
		}
		t.Run(what, func(t *testing.T) {
			h := NewHealth(slog.New(slog.DiscardHandler), databaseCheck(row.database))
			if row.state != Starting { // the state to begin with
				h.Set(row.state)
			}
			url := testkit.Serve(t, h.Handler(api))
			for _, slash := range []string{"", "/"} {
				testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/livez"+slash, ""), http.StatusOK, `{"status":"alive"}`)
				r := testkit.Send(t, "GET", url+"/readyz"+slash, "")
				testkit.RequireJSON(t, r, row.readyz, `{"status":"`+row.status+`","checks":{"database":`+row.check+`}}`)
				assert.Equal(t, row.readyz == http.StatusServiceUnavailable, r.Header.Get("Retry-After") != "")
			}
			r := testkit.Send(t, "GET", url+"/api/platforms", "")
			assert.Equal(t, row.other, r.Status)
			if row.other == http.StatusServiceUnavailable {
				testkit.RequireProblem(t, r, row.other)
				assert.NotEmpty(t, r.Header.Get("Retry-After"))
			}
			r = testkit.Send(t, "POST", url+"/livez", "")
			testkit.RequireProblem(t, r, http.StatusMethodNotAllowed)
			assert.Equal(t, "GET, HEAD", r.Header.Get("Allow"))
		})
	}

	t.Run("an optional check is reported, and changes no status", func(t *testing.T) {
		h := NewHealth(slog.New(slog.DiscardHandler), databaseCheck(nil), Check{Name: "broker", Failing: "not connected", Optional: true,
			Run: func(context.Context) error { return errors.New("bus down") }})
		h.Set(Ready)
		testkit.RequireJSON(t, testkit.Send(t, "GET", testkit.Serve(t, h.Handler(api))+"/readyz", ""), http.StatusOK,
			`{"status":"ready","checks":{"database":{"status":"ok"},"broker":{"status":"failing","detail":"not connected"}}}`)
	})

	t.Run("the cause is logged once when a check begins to fail, and its end", func(t *testing.T) {
		log, logged := testkit.CaptureLog()
		var cause error
		h := NewHealth(log, Check{Name: "database", Failing: "no response", Run: func(context.Context) error { return cause }})
		h.Set(Ready)
		url := testkit.Serve(t, h.Handler(api))
		for n, err := range []error{nil, errors.New("the first cause"), nil, errors.New("the second cause")} {
			cause = err
			for range 3 {
				testkit.Send(t, "GET", url+"/readyz", "")
			}
			assert.Len(t, logged.Lines("check failing"), (n+1)/2)
			assert.Len(t, logged.Lines("check passing again"), n/2)
		}
		assert.Len(t, logged.Lines(`check=database error="the first cause"`), 1)
		assert.Len(t, logged.Lines(`check=database error="the second cause"`), 1)
	})

	t.Run("a probe that does not wait is not a cause", func(t *testing.T) {
		log, logged := testkit.CaptureLog()
		h := NewHealth(log, Check{Name: "database", Run: func(ctx context.Context) error { return ctx.Err() }})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		h.Handler(api).ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/readyz", nil))
		assert.Empty(t, logged.Lines("check failing"))
	})

	t.Run("a database that hangs does not hang the probe", func(t *testing.T) {
		h := NewHealth(slog.New(slog.DiscardHandler), Check{Name: "database", Run: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		h.Set(Ready)
		assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", testkit.Serve(t, h.Handler(api))+"/readyz", "").Status)
	})
}
