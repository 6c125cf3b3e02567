// Package console is a third service: it watches the other two, and shows them in a
// browser. They don't know of it, so it may be down, slow or absent.
package console

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/requestid"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/web"
)

// Parts are what a process that runs the watched services, too, hands over to the
// console. The console makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener // instead of Config.HTTPAddr
	Spans        *Spans       // of the services in this process, beside those that arrive by OTLP
}

// service is what Run has built of the console, before anything is started.
type service struct {
	cfg      Config
	parts    Parts
	log      *slog.Logger
	registry *prometheus.Registry
	guard    *web.Guard
	health   *web.Health
	files    map[string]file
	feed     *feed
	journey  *journey
	streams  atomic.Int32
	stopping chan struct{} // closed when the streams are to end
}

// Run runs the console until ctx ends, and then returns nil. It returns an error
// when the console cannot start or cannot continue. What it watches may be down.
func Run(ctx context.Context, cfg Config, parts Parts, log *slog.Logger) error {
	s, err := build(cfg, parts, log)
	if err != nil {
		return err
	}
	s.guard.Start()
	defer s.guard.Stop() // after the last request
	listener, err := web.Listen(parts.HTTPListener, cfg.HTTPAddr, cfg.HTTPTLS, cfg.MaxConnections)
	if err != nil {
		return fmt.Errorf("listen for HTTP (CONSOLE_HTTP_ADDR): %w", err)
	}
	server := web.StartHTTP(listener, cfg.MaxConnections, s.handler(), log)
	defer server.Stop()
	defer close(s.stopping)
	log.Info("listening for HTTP", "addr", listener.Addr())

	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	s.watch(watching, &running)

	s.health.Set("ready")
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-server.Failed:
		return err
	}
}

// build makes the parts of the console. It starts nothing.
func build(cfg Config, parts Parts, log *slog.Logger) (*service, error) {
	files, err := loadPage()
	if err != nil {
		return nil, fmt.Errorf("load the page: %w", err)
	}
	guard, err := web.NewGuard(cfg.Guard, log)
	if err != nil {
		return nil, err
	}
	s := &service{cfg: cfg, parts: parts, log: log, files: files, registry: telemetry.NewRegistry(),
		guard: guard, health: web.NewHealth(log, guard.Checks()...), feed: newFeed(time.Now), stopping: make(chan struct{})}
	s.journey = newJourney(s.feed)
	s.feed.begin(s.describe())
	return s, nil
}

// watch starts what watches, each in the background until ctx ends.
func (s *service) watch(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() {
		for backoff.PauseFor(ctx, time.Second) == nil {
			s.feed.tick()
		}
	})
	if s.parts.Spans != nil {
		running.Go(func() { s.parts.Spans.run(ctx, s.journey.span, s.feed.leave) })
	}
}

// handler returns the routes, and around them, from the inside out, a layer a line.
func (s *service) handler() http.Handler {
	routes := web.NewRouter(s.guard, s.fail)
	routes.Handle("", web.ByMethod{http.MethodGet: web.Public(s.fileHandler)}) // the router drops the slash
	routes.Handle("/console/{file}", web.ByMethod{http.MethodGet: web.Public(s.fileHandler)})
	routes.Handle("/feed", web.ByMethod{http.MethodGet: web.Needs("platforms:read", s.feedHandler)})
	var handler http.Handler = routes
	handler = s.health.Handler(handler)
	handler = web.WithMetrics(telemetry.Metrics(s.registry), s.guard, handler)
	handler = telemetry.NewHTTP(s.registry, noop.NewTracerProvider().Tracer("")).Handler(handler)
	handler = requestid.Handler(handler)
	return handler
}

// fail writes the response for err.
func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	var p *web.Problem
	switch {
	case errors.As(err, &p): // it is one already
	case errors.Is(err, web.ErrDisconnected):
		web.Abort(r, web.StatusClientDisconnected)
	default:
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		p = web.NewProblem(http.StatusInternalServerError, "internal error; the console's log has the cause")
	}
	web.WriteProblem(w, p)
}
