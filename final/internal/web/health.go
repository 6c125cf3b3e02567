package web

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

// Health responds to the two probes that a cluster sends to a process:
//
//	GET /livez   does it work at all? If not, Kubernetes restarts it.
//	GET /readyz  can it serve now? If not, it gets no requests for a while.
//
// A database that is down is no reason to restart: alive, not ready.
type Health struct {
	checks []Check
	state  atomic.Int32 // a State
	log    *slog.Logger

	mu      sync.Mutex
	failing map[string]bool // whether a check failed when it was last made, by its name
}

// State is what a service is doing.
type State int32

// The states of a service, which is ready in one of them only.
const (
	Starting State = iota // until it can serve
	Ready
	Stopping // what still arrives is served
)

// String returns the state as the probe's response names it.
func (s State) String() string { return [...]string{"starting", "ready", "stopping"}[s] }

// Check is one thing that the service depends on.
type Check struct {
	Name     string
	Failing  string             // what the probe's response says when it fails; the cause is in the log
	Reason   func(error) string // says more of some errors, and "" of others; may be nil
	Optional bool               // reported, but the service is ready without it
	Run      func(context.Context) error
}

// NewHealth returns the probes of a service that is starting. It logs a check with
// log when it fails and when it passes again.
func NewHealth(log *slog.Logger, checks ...Check) *Health {
	return &Health{checks: checks, log: log, failing: map[string]bool{}}
}

// BrokerCheck reports the connection to the broker. The service is ready without
// one: what it could not send or receive then, it does later.
func BrokerCheck(connected func() bool) Check {
	return Check{Name: "broker", Failing: "not connected", Optional: true, Run: func(context.Context) error {
		if !connected() {
			return errors.New("not connected")
		}
		return nil
	}}
}

// Drain says for the duration that the service is stopping, while requests are
// still handled: a load balancer that relies on /readyz has that long to send them
// elsewhere.
func (h *Health) Drain(duration time.Duration) {
	h.Set(Stopping)
	<-time.After(duration)
}

// Set changes the state.
func (h *Health) Set(state State) { h.state.Store(int32(state)) }

func (h *Health) get() State { return State(h.state.Load()) }

// Gate leaves requests to api. While the service is starting they get a 503: api may
// have no database yet.
func (h *Health) Gate(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h.get() == Starting {
			WriteProblem(w, Unavailable(w, "the service is starting"))
			return
		}
		api.ServeHTTP(w, r)
	})
}

// Handler handles the probes, and leaves every other request to api, as Gate does.
func (h *Health) Handler(api http.Handler) http.Handler {
	api = h.Gate(api)
	probes := map[string]ByMethod{
		"/livez":  {http.MethodGet: Public(h.live)},
		"/readyz": {http.MethodGet: Public(h.ready)},
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(r.URL.Path, "/")
		probe, ok := probes[path]
		if !ok {
			api.ServeHTTP(w, r)
			return
		}
		telemetry.SetRoute(r.Context(), path)
		if p := (*Problem)(nil); errors.As(probe.serve(w, r, nil), &p) { // the only kind of error returned here
			WriteProblem(w, p)
		}
	})
}

func (h *Health) live(w http.ResponseWriter, _ *http.Request) error {
	return WriteJSON(w, http.StatusOK, map[string]string{"status": "alive"})
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

func (h *Health) ready(w http.ResponseWriter, r *http.Request) error {
	state, available := h.get(), true
	response := readiness{Checks: map[string]checkResult{}}
	for _, c := range h.checks {
		result := checkResult{Status: "ok"}
		err := c.attempt(r.Context())
		if r.Context().Err() == nil { // else that is all that the error says
			h.logChange(r.Context(), c.Name, err)
		}
		if err != nil {
			result = checkResult{Status: "failing", Detail: c.Failing}
			if c.Reason != nil {
				result.Detail = cmp.Or(c.Reason(err), c.Failing)
			}
			available = available && c.Optional
		}
		response.Checks[c.Name] = result
	}
	response.Status = state.String()
	if state == Ready && !available {
		response.Status = "unavailable"
	}
	status := http.StatusOK
	if state != Ready || !available {
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "1")
	}
	return WriteJSON(w, status, response)
}

func (c Check) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return c.Run(ctx)
}

// logChange logs why a check fails, and that it passes again: once, not for every
// probe.
func (h *Health) logChange(ctx context.Context, name string, err error) {
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

// Unavailable returns a 503 that asks the client to retry after a second.
func Unavailable(w http.ResponseWriter, detail string) *Problem {
	w.Header().Set("Retry-After", "1")
	return NewProblem(http.StatusServiceUnavailable, detail)
}
