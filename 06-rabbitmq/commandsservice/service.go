package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
)

// Run runs the service until ctx ends, and then returns nil. It returns an
// error when the service cannot start or cannot continue.
//
// Each start is followed by the defer that stops it. So things stop in the
// reverse order: the HTTP server first, then the store that its requests use.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return fmt.Errorf("open the database (COMMANDS_DATABASE_URL): %w", err)
	}
	defer store.close()
	if err := store.migrate(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}

	listener, err := net.Listen("tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listen for HTTP (COMMANDS_HTTP_ADDR): %w", err)
	}
	api := &restAPI{store: store, log: log}
	health := newHealth(store.ping)
	web := startHTTP(listener, health.handler(api.handler()))
	defer web.stop()
	log.Info("listening for HTTP", "addr", listener.Addr())

	// Events are received in the background, for as long as the service runs.
	var background sync.WaitGroup
	backgroundCtx, stopBackground := context.WithCancel(ctx)
	defer background.Wait()
	defer stopBackground()
	processor := &eventProcessor{store: store, log: log}
	events := &subscriber{url: cfg.RabbitMQURL, exchange: cfg.Exchange, log: log}
	background.Go(func() {
		events.run(backgroundCtx, processor.process, func() {
			log.Info("receiving events; those published before are lost")
		})
	})

	health.set(ready)
	defer health.set(stopping)
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-web.failed:
		return err
	}
}
