package platformservice

import (
	"context"
	"log/slog"
)

// Run runs the service until ctx ends, which is no error. It returns an error
// when the service cannot start, or cannot go on.
//
// What is started is followed by the defer that stops it, so that things stop
// in the reverse order: first no more requests, then what requests need.
func Run(ctx context.Context, cfg Config, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL)
	if err != nil {
		return err
	}
	defer store.close()

	publisher := cfg.Publisher
	if publisher == nil {
		publisher = NewRabbitMQPublisher(cfg.RabbitMQURL, cfg.Exchange, log)
	}
	defer publisher.Close()

	api := &restAPI{store: store, publisher: publisher, log: log}
	if cfg.CommandsServiceURL != "" {
		api.commands = newCommandsClient(cfg.CommandsServiceURL, cfg.CommandsServiceTimeout)
	}
	health := newHealth(store.ping)
	web, err := startHTTP(cfg.HTTPListener, "PLATFORMS_HTTP_ADDR", cfg.HTTPAddr, health.handler(api.handler()))
	if err != nil {
		return err
	}
	defer web.stop()
	log.Info("listening for HTTP", "addr", web.addr)

	if err := prepare(ctx, store, cfg, log); err != nil {
		if ctx.Err() != nil {
			return nil // told to stop while waiting
		}
		return err
	}

	rpc, err := startGRPC(cfg.GRPCListener, cfg.GRPCAddr, &grpcServer{store: store, log: log})
	if err != nil {
		return err
	}
	defer rpc.stop()

	health.set("ready")
	defer health.set("stopping")
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
