package commandsservice

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"microcomm/final/internal/telemetry"
)

// checkTimeout bounds each check of a readiness probe.
const checkTimeout = time.Second

// health responds to the two probes that a cluster sends to a process:
//
//	GET /livez   does it work at all? If not, it is restarted.
//	GET /readyz  can it serve now? If not, it gets no requests for a while.
//
// A database that is away is no reason to restart: alive, not ready.
type health struct {
	checks []check
	state  atomic.Value // string: starting, ready or stopping
	log    *slog.Logger

	mu      sync.Mutex
	failing map[string]bool // whether a check failed when it was last made, by its name
}

// check is one thing that the service depends on.
type check struct {
	name     string
	failing  string             // what the probe's response says when it fails; the cause is in the log
	reason   func(error) string // says more of some errors, and "" of others; may be nil
	optional bool               // reported, but the service is ready without it
	run      func(context.Context) error
}

func newHealth(log *slog.Logger, checks ...check) *health {
	h := &health{checks: checks, log: log, failing: map[string]bool{}}
	h.state.Store("starting")
	return h
}

// brokerCheck reports the connection to the broker. The service is ready without
// one: what it could not send or receive then, it does later.
func brokerCheck(connected func() bool) check {
	return check{name: "broker", failing: "not connected", optional: true, run: func(context.Context) error {
		if !connected() {
			return errors.New("not connected")
		}
		return nil
	}}
}

// drain says for the duration that the service is stopping, while requests are
// still handled: whoever sends them by what /readyz responds has that long to
// send them elsewhere.
func (h *health) drain(duration time.Duration) {
	h.set("stopping")
	<-time.After(duration)
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
		path := strings.TrimSuffix(r.URL.Path, "/")
		if probe, ok := probes[path]; ok {
			telemetry.SetRoute(r.Context(), path)
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

// readiness is the response of /readyz.
type readiness struct {
	Status string                 `json:"status"` // ready, starting, unavailable or stopping
	Checks map[string]checkResult `json:"checks"`
}

type checkResult struct {
	Status string `json:"status"` // ok or failing
	Detail string `json:"detail,omitempty"`
}

func (h *health) ready(w http.ResponseWriter, r *http.Request) error {
	response := readiness{Status: h.state.Load().(string), Checks: map[string]checkResult{}}
	for _, c := range h.checks {
		result := checkResult{Status: "ok"}
		err := c.attempt(r.Context())
		if r.Context().Err() == nil { // else that is all that the error says
			h.logChange(r.Context(), c.name, err)
		}
		if err != nil {
			result = checkResult{Status: "failing", Detail: c.failing}
			if c.reason != nil {
				result.Detail = cmp.Or(c.reason(err), c.failing)
			}
			if response.Status == "ready" && !c.optional {
				response.Status = "unavailable"
			}
		}
		response.Checks[c.name] = result
	}
	status := http.StatusOK
	if response.Status != "ready" {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	return writeJSON(w, status, response)
}

func (c check) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.run(ctx)
}

// logChange logs why a check fails, and that it passes again: once, not for every
// probe.
func (h *health) logChange(ctx context.Context, name string, err error) {
	h.mu.Lock()
	before := h.failing[name]
	h.failing[name] = err != nil
	h.mu.Unlock()
	switch {
	case err != nil && !before:
		h.log.WarnContext(ctx, "check failing", "check", name, "error", err)
	case err == nil && before:
		h.log.InfoContext(ctx, "check passing again", "check", name)
	}
}

// unavailable returns a 503 that asks the client to retry after a second.
func unavailable(w http.ResponseWriter, detail string) *problem {
	w.Header().Set("Retry-After", "1")
	return newProblem(http.StatusServiceUnavailable, detail)
}
