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
//	GET /livez   does it work at all? If not, Kubernetes restarts it.
//	GET /readyz  can it serve now? If not, it gets no requests for a while.
//
// A database that is down is no reason to restart: alive, not ready.
type health struct {
	ping  func(context.Context) error // queries the database
	state atomic.Int32                // a state
}

// state is what a service is doing.
type state int32

const (
	starting state = iota // until it can serve
	ready
	stopping // what still arrives is served
)

func (s state) String() string { return [...]string{"starting", "ready", "stopping"}[s] }

// newHealth returns the health of a service that is starting.
func newHealth(ping func(context.Context) error) *health { return &health{ping: ping} }

// set changes the state.
func (h *health) set(s state) { h.state.Store(int32(s)) }

func (h *health) get() state { return state(h.state.Load()) }

// handler handles the probes, and leaves every other request to api. While the
// service is starting, those get a 503: api may have no database yet.
func (h *health) handler(api http.Handler) http.Handler {
	probes := map[string]byMethod{
		"/livez":  {http.MethodGet: h.livez},
		"/readyz": {http.MethodGet: h.readyz},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var err error
		if probe, ok := probes[strings.TrimSuffix(r.URL.Path, "/")]; ok {
			err = probe.serve(w, r)
		} else if h.get() == starting {
			err = unavailable(w, "the service is starting")
		} else {
			api.ServeHTTP(w, r)
		}
		if p := (*problem)(nil); errors.As(err, &p) { // the only kind of error returned here
			writeProblem(w, p)
		}
	})
}

func (h *health) livez(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"status": "alive"})
}

func (h *health) readyz(w http.ResponseWriter, r *http.Request) error {
	if s := h.get(); s != ready {
		return unavailable(w, "the service is "+s.String())
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
