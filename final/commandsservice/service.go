package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/telemetry"
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
	api := &restAPI{store: store, slots: newSlots(cfg.MaxInFlight), log: log}
	health := newHealth(log,
		check{name: "database", failing: "the database does not respond", reason: sqlite.Reason, run: store.ping},
		check{name: "backfill", failing: "the first backfill has not ended", run: backfill.check},
		brokerCheck(subscriber.Connected))
	web := startHTTP(listener, cfg.MaxConnections, requestid.Handler(metrics.Handler(health.handler(api.handler()))), log)
	defer web.stop()
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

	health.set("ready")
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		health.drain(cfg.DrainTime)
		return nil
	case err := <-web.failed:
		return err
	}
}
