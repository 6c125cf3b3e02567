package commandsservice

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// pingTimeout bounds the database query of a readiness probe.
const pingTimeout = time.Second

// health responds to the two probes that a cluster sends to a process:
//
//	GET /livez   does it work at all? If not, it is restarted.
//	GET /readyz  can it serve now? If not, it gets no requests for a while.
//
// A database that is away is no reason to restart: alive, not ready.
type health struct {
	ping  func(context.Context) error // queries the database
	state atomic.Value                // string: starting, ready or stopping
}

func newHealth(ping func(context.Context) error) *health {
	h := &health{ping: ping}
	h.state.Store("starting")
	return h
}

// set changes the state. The service is ready in the state "ready" only.
func (h *health) set(state string) { h.state.Store(state) }

// handler handles the probes, and leaves every other request to api. While the
// service is starting, those get a 503: api may have no database yet.
func (h *health) handler(api http.Handler) http.Handler {
	probes := map[string]methods{
		"/livez":  {http.MethodGet: h.live},
		"/readyz": {http.MethodGet: h.ready},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if probe, ok := probes[strings.TrimSuffix(r.URL.Path, "/")]; ok {
			err = probe.handle(w, r)
		} else if h.state.Load() == "starting" {
			err = unavailable(w, "the service is starting")
		} else {
			api.ServeHTTP(w, r)
		}
		if p := (*problem)(nil); errors.As(err, &p) { // no other error comes from here
			writeProblem(w, p)
		}
	})
}

func (h *health) live(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (h *health) ready(w http.ResponseWriter, r *http.Request) error {
	if state := h.state.Load(); state != "ready" {
		return unavailable(w, "the service is "+state.(string))
	}
	ctx, cancel := context.WithTimeout(r.Context(), pingTimeout)
	defer cancel()
	if h.ping(ctx) != nil {
		return unavailable(w, "the database does not respond")
	}
	return writeJSON(w, http.StatusOK, map[string]string{"status": "ready"})
}

// unavailable returns a 503 that asks the client to retry after a second.
func unavailable(w http.ResponseWriter, detail string) *problem {
	w.Header().Set("Retry-After", "1")
	return newProblem(http.StatusServiceUnavailable, detail)
}
