package commandsservice

import (
	"context"
	"log/slog"
	"sync"
)

// Run runs the service until ctx ends, which is no error. It returns an error
// when the service cannot start, or cannot go on.
//
// What is started is followed by the defer that stops it, so that things stop
// in the reverse order: first nothing new comes in, then what it needs ends.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer store.close()
	if err := store.migrate(ctx); err != nil {
		return err
	}

	api := &restAPI{store: store, log: log}
	health := newHealth(store.ping)
	web, err := startHTTP("COMMANDS_HTTP_ADDR", cfg.HTTPAddr, health.handler(api.handler()))
	if err != nil {
		return err
	}
	defer web.stop()
	log.Info("listening for HTTP", "addr", web.addr)

	// In the background, for as long as the service runs: events, and what was
	// missed before they began to come.
	var background sync.WaitGroup
	backgroundCtx, stopBackground := context.WithCancel(ctx)
	defer background.Wait()
	defer stopBackground()
	backfill := newBackfill(newPlatformsClient(cfg.GRPCTarget), store, log)
	background.Go(func() { backfill.run(backgroundCtx) })
	subscriber := NewRabbitMQSubscriber(cfg.RabbitMQURL, cfg.Exchange, log)
	events := newEventProcessor(store, log)
	background.Go(func() { subscriber.Run(backgroundCtx, events.process, backfill.request) })

	health.set("ready")
	defer health.set("stopping")
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-web.failed:
		return err
	}
}
