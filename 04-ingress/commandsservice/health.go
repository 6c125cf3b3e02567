package commandsservice

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// pingTimeout bounds the question to the database behind a readiness probe.
const pingTimeout = time.Second

// health answers the two questions that a cluster asks of a process:
//
//	GET /livez   does it work at all? If not, it is restarted.
//	GET /readyz  can it serve now? If not, it gets no requests for a while.
//
// A database that is away is no reason to restart anything: alive, not ready.
type health struct {
	ping  func(context.Context) error // asks the database
	state atomic.Value                // string: starting, ready or stopping
}

func newHealth(ping func(context.Context) error) *health {
	h := &health{ping: ping}
	h.state.Store("starting")
	return h
}

// set changes the state. Only in the state "ready" is the service ready.
func (h *health) set(state string) { h.state.Store(state) }

// handler answers the probes itself and leaves the rest to api; but while the
// service is starting, api may have no database yet, and the answer is a 503.
func (h *health) handler(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/livez":
			methods{http.MethodGet: h.live}.ServeHTTP(w, r)
		case r.URL.Path == "/readyz":
			methods{http.MethodGet: h.ready}.ServeHTTP(w, r)
		case h.state.Load() == "starting":
			unavailable(w, "the service is starting")
		default:
			api.ServeHTTP(w, r)
		}
	})
}

func (h *health) live(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (h *health) ready(w http.ResponseWriter, r *http.Request) {
	if state := h.state.Load(); state != "ready" {
		unavailable(w, "the service is "+state.(string))
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	if h.ping(ctx) != nil {
		unavailable(w, "the database does not answer")
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

func unavailable(w http.ResponseWriter, detail string) {
	w.Header().Set("Retry-After", "1")
	p := newProblem(http.StatusServiceUnavailable, detail)
	write(w, "application/problem+json", p.Status, p)
}
