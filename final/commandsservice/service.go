package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/web"
)

// RunWith runs the service with parts of its caller's, until ctx ends, and then
// returns nil. It returns an error when the service cannot start or cannot continue.
//
// Each start is followed by the defer that stops it. So things stop in the
// reverse order: the HTTP server first, then the store that its requests use.
func RunWith(ctx context.Context, cfg Config, parts Parts, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer store.close()

	registry := telemetry.NewRegistry()
	registry.MustRegister(store.collectors()...)
	tracer := parts.tracer()
	metrics := telemetry.NewHTTP(registry, tracer)
	client := newPlatformsClient(cfg.GRPCTarget)
	client.tls = cfg.GRPCTLS
	client.tracer = tracer
	backfill := newBackfill(client, store, cfg.BackfillReadyTimeout, newBackfillMetrics(registry), log)

	eventMetrics := newEventMetrics(registry)
	subscriber := parts.Subscriber
	if subscriber == nil {
		subscriber = NewRabbitMQSubscriber(cfg, registry, eventMetrics.consumed, log)
	}

	listener, err := listenOn(parts.HTTPListener, cfg.HTTPAddr, cfg.HTTPTLS, cfg.MaxConnections)
	if err != nil {
		return fmt.Errorf("listen for HTTP (COMMANDS_HTTP_ADDR): %w", err)
	}
	api := &restAPI{store: store, slots: web.NewSlots(cfg.MaxInFlight), log: log}
	health := web.NewHealth(log,
		web.Check{Name: "database", Failing: "the database does not respond", Reason: sqlite.Reason, Run: store.ping},
		web.Check{Name: "backfill", Failing: "the first backfill has not ended", Run: backfill.check},
		web.BrokerCheck(subscriber.Connected))
	server := web.StartHTTP(listener, cfg.MaxConnections, requestid.Handler(metrics.Handler(health.Handler(api.handler()))), log)
	defer server.Stop()
	log.Info("listening for HTTP", "addr", listener.Addr())

	if err := setUp(ctx, store, cfg.DatabaseWait, log); err != nil {
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
	background.Go(func() { backfill.run(backgroundCtx) })
	events := &eventProcessor{store: store, metrics: eventMetrics, tracer: tracer, log: log}
	background.Go(func() { subscriber.Run(backgroundCtx, events.process, backfill.request) })

	health.Set("ready")
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		health.Drain(cfg.DrainTime)
		return nil
	case err := <-server.Failed:
		return err
	}
}
