package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final"
	"microcomm/final/apidoc"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/requestid"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/web"
)

// Parts are what a process that runs several services hands over to this one.
// The service makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener         // instead of Config.HTTPAddr
	Subscriber   bus.Subscriber       // instead of RabbitMQ at Config.RabbitMQURL
	Tracers      trace.TracerProvider // instead of none: spans go nowhere
}

// service is what Run has built of the service, before anything is started.
type service struct {
	cfg        Config
	log        *slog.Logger
	store      commandStore
	registry   *prometheus.Registry
	tracer     trace.Tracer
	http       *telemetry.HTTP
	guard      *web.Guard
	backfill   *backfill
	events     *eventProcessor
	subscriber bus.Subscriber
	health     *web.Health
	described  map[string]apidoc.File
}

// Run runs the service until ctx ends, and then returns nil. It returns an error
// when the service cannot start or cannot continue.
//
// Each start is followed by the defer that stops it. So things stop in the
// reverse order: the HTTP server first, then the store that its requests use.
func Run(ctx context.Context, cfg Config, parts Parts, log *slog.Logger) error {
	s, err := build(cfg, parts, log)
	if err != nil {
		return err
	}
	defer s.store.close()
	s.guard.Start()
	defer s.guard.Stop() // after the last request

	listener, err := web.Listen(parts.HTTPListener, cfg.HTTPAddr, cfg.HTTPTLS, cfg.MaxConnections)
	if err != nil {
		return fmt.Errorf("listen for HTTP (COMMANDS_HTTP_ADDR): %w", err)
	}
	server := web.StartHTTP(listener, cfg.MaxConnections, s.handler(), log)
	defer server.Stop()
	log.Info("listening for HTTP", "addr", listener.Addr())
	if err := server.ServeAdmin(cfg.AdminAddr, cfg.HTTPTLS, s.adminHandler(), log); err != nil {
		return fmt.Errorf("listen for probes and metrics (COMMANDS_ADMIN_ADDR): %w", err)
	}

	if err := setUp(ctx, s.store, cfg.DatabaseWait, log); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}

	// In the background, for as long as the service runs: events are received,
	// and what was missed before is fetched.
	var background sync.WaitGroup
	backgroundCtx, stopBackground := context.WithCancel(ctx)
	defer background.Wait()
	defer stopBackground()
	background.Go(func() { s.backfill.run(backgroundCtx) })
	background.Go(func() { s.subscriber.Run(backgroundCtx, s.events.process, s.backfill.request) })

	s.health.Set(web.Ready)
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		s.health.Drain(cfg.DrainTime)
		return nil
	case err := <-server.Failed:
		return err
	}
}

// build makes the parts of the service and connects them. It starts nothing; the
// caller must close the store.
func build(cfg Config, parts Parts, log *slog.Logger) (*service, error) {
	described, err := apidoc.Files("microcomm", apidoc.API{Document: final.CommandsAPI, Address: "http://localhost:6000"})
	if err != nil {
		return nil, err
	}
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return nil, err
	}
	s := &service{cfg: cfg, log: log, store: store, registry: telemetry.NewRegistry(), subscriber: parts.Subscriber, described: described}
	s.registry.MustRegister(store.collectors()...)

	tracers := parts.Tracers
	if tracers == nil {
		tracers = noop.NewTracerProvider()
	}
	s.tracer = tracers.Tracer("microcomm/final/commandsservice")
	s.http = telemetry.NewHTTP(s.registry, s.tracer)
	if s.guard, err = web.NewGuard(cfg.Guard, log); err != nil {
		store.close()
		return nil, err
	}

	client := newPlatformsClient(cfg.GRPCTarget, cfg.GRPCTLS, s.tracer)
	s.backfill = newBackfill(client, store, cfg.BackfillReadyTimeout, newBackfillMetrics(s.registry), log)
	s.events = &eventProcessor{store: store, metrics: newEventMetrics(s.registry), tracer: s.tracer, log: log}
	if s.subscriber == nil {
		s.subscriber = NewRabbitMQSubscriber(cfg, s.registry, s.events.metrics.consumed, s.tracer, log)
	}
	s.health = web.NewHealth(log, append(s.guard.Checks(),
		web.Check{Name: "database", Failing: "the database does not respond", Reason: sqlite.Reason, Run: store.ping},
		web.Check{Name: "backfill", Failing: "the first backfill has not ended", Run: s.backfill.check},
		web.BrokerCheck(s.subscriber.Connected))...)
	return s, nil
}

// handler returns the routes, and around them, from the inside out, a layer a line.
func (s *service) handler() http.Handler {
	api := &restAPI{store: s.store, guard: s.guard, slots: web.NewSlots(s.cfg.RequestLimit), described: s.described, log: s.log}
	handler := api.handler()
	if s.cfg.AdminAddr == "" {
		handler = s.health.Handler(handler)
		handler = web.WithMetrics(telemetry.Metrics(s.registry), s.guard, handler)
	} else {
		handler = s.health.Gate(handler)
	}
	return s.observed(handler)
}

// adminHandler returns what is served on the admin port.
func (s *service) adminHandler() http.Handler {
	return s.observed(web.AdminHandler(s.health, telemetry.Metrics(s.registry)))
}

// observed gives the requests that handler handles an id, a span and a place in the metrics.
func (s *service) observed(handler http.Handler) http.Handler {
	return requestid.Handler(s.http.Handler(handler))
}
