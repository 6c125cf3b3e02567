package platformservice

import (
	"context"
	"fmt"
	"log/slog"
	"net"
)

// Run runs the service until ctx ends, and then returns nil. It returns an
// error when the service cannot start or cannot continue.
//
// Each start is followed by the defer that stops it. So things stop in the
// reverse order: the HTTP server first, then the store that its requests use.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return fmt.Errorf("open the database (DATABASE_URL): %w", err)
	}
	defer store.close()

	events := newPublisher(cfg.RabbitMQURL, cfg.Exchange, log)
	defer events.close()

	listener, err := net.Listen("tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("listen for HTTP (PLATFORMS_HTTP_ADDR): %w", err)
	}
	api := &restAPI{store: store, publisher: events, log: log}
	if cfg.CommandsServiceURL != "" {
		api.commands = newCommandsClient(cfg.CommandsServiceURL, cfg.CommandsServiceTimeout)
		defer api.commands.close()
	}
	health := newHealth(store.ping)
	web := startHTTP(listener, health.handler(api.handler()))
	defer web.stop()
	log.Info("listening for HTTP", "addr", listener.Addr())

	if err := setUp(ctx, store, cfg, log); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}

	grpcListener, err := net.Listen("tcp", cfg.GRPCAddr)
	if err != nil {
		return fmt.Errorf("listen for gRPC (PLATFORMS_GRPC_ADDR): %w", err)
	}
	rpc := startGRPC(grpcListener, &grpcAPI{store: store, log: log})
	defer rpc.stop()
	log.Info("listening for gRPC", "addr", grpcListener.Addr())

	health.set(ready)
	defer health.set(stopping)
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		return nil
	case err := <-web.failed:
		return err
	case err := <-rpc.failed:
		return err
	}
}
