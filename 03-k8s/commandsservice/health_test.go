package commandsservice

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHealth(t *testing.T) {
	api := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })

	for _, row := range []struct {
		state                state
		database             error
		livez, readyz, other int
	}{
		{starting, nil, 200, 503, 503},
		{starting, errors.New("database down"), 200, 503, 503},
		{ready, nil, 200, 200, 204},
		{ready, errors.New("database down"), 200, 503, 204}, // the API has its own response to that
		{stopping, nil, 200, 503, 204},                      // requests that still arrive are served
	} {
		what := row.state.String()
		if row.database != nil {
			what += ", the database is down"
		}
		t.Run(what, func(t *testing.T) {
			h := newHealth(func(context.Context) error { return row.database })
			if row.state != starting { // the state to begin with
				h.set(row.state)
			}
			url := serve(t, h.handler(api))
			for path, status := range map[string]int{
				"/livez": row.livez, "/livez/": row.livez, "/readyz": row.readyz, "/readyz/": row.readyz, "/api/platforms": row.other,
			} {
				resp := send(t, "GET", url+path, "")
				assert.Equal(t, status, resp.status, path)
				if status == http.StatusServiceUnavailable {
					requireProblem(t, resp, status)
					assert.NotEmpty(t, resp.header.Get("Retry-After"))
					assert.NotContains(t, resp.body, "database down")
				}
			}
			resp := send(t, "POST", url+"/livez", "")
			requireProblem(t, resp, http.StatusMethodNotAllowed)
			assert.Equal(t, "GET, HEAD", resp.header.Get("Allow"))
		})
	}

	t.Run("a database that hangs does not hang the probe", func(t *testing.T) {
		h := newHealth(func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
		h.set(ready)
		requireProblem(t, send(t, "GET", serve(t, h.handler(api))+"/readyz", ""), http.StatusServiceUnavailable)
	})
}

func TestHealthOfStore(t *testing.T) {
	store := memoryStore(t)
	h := newHealth(store.ping)
	h.set(ready)
	url := serve(t, h.handler(http.NotFoundHandler()))
	assert.Equal(t, http.StatusOK, send(t, "GET", url+"/readyz", "").status)
	store.close()
	requireProblem(t, send(t, "GET", url+"/readyz", ""), http.StatusServiceUnavailable)
	assert.Equal(t, http.StatusOK, send(t, "GET", url+"/livez", "").status)
}

// TestHealthWithoutTable: a service with a connection but no table is not ready.
func TestHealthWithoutTable(t *testing.T) {
	store := memoryStore(t)
	_, err := store.(*sqliteStore).db.Exec(`DROP TABLE platforms`)
	require.NoError(t, err)
	h := newHealth(store.ping)
	h.set(ready)
	requireProblem(t, send(t, "GET", serve(t, h.handler(http.NotFoundHandler()))+"/readyz", ""), http.StatusServiceUnavailable)
}

func TestHealthOfService(t *testing.T) {
	service := startService(t, testConfig(t))
	service.waitReady(t)
	assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/readyz", "").status)
	assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/livez", "").status)
}
