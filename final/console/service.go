// Package console is a third service: it watches the other two, and shows them in a
// browser. They don't know of it, so it may be down, slow or absent.
package console

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/requestid"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/web"
)

// Parts are what a process that runs the watched services, too, hands over to the
// console. The console makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener // instead of Config.HTTPAddr
	Spans        *Spans       // of the services in this process, beside those that arrive by OTLP
	Client       string       // the address that it names as its own to services that trust loopback as a proxy

	// A bus in memory, instead of RabbitMQ at Config.RabbitMQURL.
	Events <-chan bus.Message
	Queues func() []QueueState
}

// service is what Run has built of the console, before anything is started.
type service struct {
	cfg      Config
	watched  Parts
	log      *slog.Logger
	registry *prometheus.Registry
	guard    *web.Guard
	health   *web.Health
	files    map[string]file
	first    runContent
	feed     *feed
	journey  *journey
	parts    *parts
	bodies   web.Bodies
	client   *http.Client

	platforms, commands []target     // their replicas
	toServices          http.Handler // forwards to them
	toControl           http.Handler // forwards to lab; nil: there is none

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
	s.first.Faults = s.faults(ctx)
	s.feed.begin(s.first)
	s.health.Set(web.Ready) // before the first request: an exporter that gets a 503 sends nothing more for seconds
	server := web.StartHTTP(listener, cfg.MaxConnections, s.handler(), log)
	defer server.Stop()
	defer close(s.stopping)
	log.Info("listening for HTTP", "addr", listener.Addr())

	watching, stop := context.WithCancel(ctx)
	var running sync.WaitGroup
	defer s.client.CloseIdleConnections() // a server that stops would wait for one that was never used
	defer running.Wait()
	defer stop()
	s.watch(watching, &running)
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
	s := &service{cfg: cfg, watched: parts, log: log, files: files, registry: telemetry.NewRegistry(),
		guard: guard, health: web.NewHealth(log, guard.Checks()...), feed: newFeed(time.Now), stopping: make(chan struct{}),
		platforms: targets("platformservice", "platforms-db", cfg.PlatformsURL, cfg.PlatformsAdminURL),
		commands:  targets("commandsservice", "commands-db", cfg.CommandsURL, cfg.CommandsAdminURL)}
	s.first = s.describe()
	s.journey, s.parts = newJourney(s.feed, cfg.Stage == "final"), newParts(s.feed, s.first.Parts)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // no proxy between services, whatever the environment says
	if transport.TLSClientConfig, err = cfg.ServicesTLS.Client(); err != nil {
		return nil, err
	}
	s.client = &http.Client{Transport: transport}
	if s.toServices, err = newForward(s.platforms[0], s.commands[0], transport); err != nil {
		return nil, err
	}
	if cfg.ControlURL != "" {
		s.toControl, err = newControl(cfg, transport)
	}
	return s, err
}

// watch starts what watches, each in the background until ctx ends.
func (s *service) watch(ctx context.Context, running *sync.WaitGroup) {
	for _, id := range []string{"client", "gateway", "console"} {
		s.parts.report(id, partContent{State: up})
	}
	running.Go(func() {
		for backoff.PauseFor(ctx, time.Second) == nil {
			s.feed.tick()
		}
	})
	for _, t := range slices.Concat(s.platforms, s.commands) {
		running.Go(func() { s.probe(ctx, t) })
	}
	if !s.cfg.anonymous() {
		running.Go(func() { s.watchLists(ctx) })
	}
	if s.cfg.Stage == "final" && s.cfg.measured(s.cfg.PlatformsAdminURL) {
		running.Go(func() { s.measure(ctx, s.platforms, s.outboxGauge()) })
	}
	if s.cfg.Stage == "final" && s.cfg.measured(s.cfg.CommandsAdminURL) {
		running.Go(func() { s.measure(ctx, s.commands, s.eventGauges()) })
	}
	if s.watched.Spans != nil {
		running.Go(func() { s.watched.Spans.run(ctx, s.journey.span, s.feed.leave) })
	}
	switch {
	case s.watched.Queues != nil:
		running.Go(func() { s.takeEvents(ctx, s.watched.Events) })
		running.Go(func() { s.watchMemory(ctx) })
	case s.cfg.Stage != "02":
		running.Go(func() { s.watchBroker(ctx) })
	}
}

// handler returns the routes, and around them, from the inside out, a layer a line.
func (s *service) handler() http.Handler {
	routes := web.NewRouter(s.guard, s.fail)
	routes.Handle("", web.ByMethod{http.MethodGet: web.Public(s.fileHandler)}) // the router drops the slash
	routes.Handle("/console/{file}", web.ByMethod{http.MethodGet: web.Public(s.fileHandler)})
	routes.Handle("/feed", web.ByMethod{http.MethodGet: web.Needs("platforms:read", s.feedHandler), http.MethodPost: web.Public(s.post)})
	routes.Handle("/v1/traces", web.ByMethod{http.MethodPost: web.Public(s.traces)})
	routes.Handle("/control/{what}", web.ByMethod{http.MethodGet: web.Public(s.control), http.MethodPost: web.Public(s.control)})
	var handler http.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			s.toServices.ServeHTTP(w, r)
			return
		}
		routes.ServeHTTP(w, r)
	})
	handler = s.health.Handler(handler)
	handler = web.WithMetrics(telemetry.Metrics(s.registry), s.guard, handler)
	handler = telemetry.NewHTTP(s.registry, noop.NewTracerProvider().Tracer("")).Handler(handler)
	handler = requestid.Handler(handler)
	return handler
}

// fail writes the response for err.
func (s *service) fail(w http.ResponseWriter, r *http.Request, err error) {
	p := web.ProblemOf(w, r, s.log, err)
	if p == nil {
		s.log.ErrorContext(r.Context(), "request failed", "method", r.Method, "path", r.URL.Path, "error", err)
		p = web.NewProblem(http.StatusInternalServerError, "internal error; the console's log has the cause")
	}
	web.WriteProblem(w, p)
}
