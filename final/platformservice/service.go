package platformservice

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// RunWith runs the service with parts of its caller's, until ctx ends, and then
// returns nil. It returns an error when the service cannot start or cannot continue.
//
// Each start is followed by the defer that stops it. So things stop in the
// reverse order: the HTTP server first, then the store that its requests use.
func RunWith(ctx context.Context, cfg Config, parts Parts, log *slog.Logger) error {
	store, err := openStore(cfg.DatabaseURL, cfg.SQLiteSynchronous)
	if err != nil {
		return err
	}
	defer store.close()

	registry := telemetry.NewRegistry()
	registry.MustRegister(store.collectors()...)
	registry.MustRegister(newOutboxCollector(store))
	tracer := parts.tracer()
	metrics := telemetry.NewHTTP(registry, tracer)

	publisher := parts.Publisher
	if publisher == nil {
		publisher = NewRabbitMQPublisher(cfg, registry, log)
	}
	defer publisher.Close()

	listener, err := listenOn(parts.HTTPListener, cfg.HTTPAddr, cfg.HTTPTLS, cfg.MaxConnections)
	if err != nil {
		return fmt.Errorf("listen for HTTP (PLATFORMS_HTTP_ADDR): %w", err)
	}
	relay := newRelay(store, publisher, newRelayMetrics(registry), tracer, log)
	api := &restAPI{store: store, wake: relay.wake, slots: web.NewSlots(cfg.MaxInFlight), log: log}
	if cfg.CommandsServiceURL != "" {
		api.commands = newCommandsClient(cfg.CommandsServiceURL, cfg.CommandsServiceTimeout)
		api.commands.tracer = tracer
		if err := api.commands.useTLS(cfg.CommandsServiceTLS); err != nil {
			return err
		}
		defer api.commands.close()
	}
	health := web.NewHealth(log,
		web.Check{Name: "database", Failing: "the database does not respond", Reason: sqlite.Reason, Run: store.ping},
		web.BrokerCheck(publisher.Connected))
	server := web.StartHTTP(listener, cfg.MaxConnections, requestid.Handler(metrics.Handler(health.Handler(api.handler()))), log)
	defer server.Stop()
	log.Info("listening for HTTP", "addr", listener.Addr())

	if err := setUp(ctx, store, cfg, log); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}

	relay.start()
	defer relay.stop()

	security, err := grpcSecurity(cfg.GRPCTLS)
	if err != nil {
		return err
	}
	grpcListener, err := listenOn(parts.GRPCListener, cfg.GRPCAddr, tlsconfig.Files{}, maxConnections)
	if err != nil {
		return fmt.Errorf("listen for gRPC (PLATFORMS_GRPC_ADDR): %w", err)
	}
	options := append(security, telemetry.GRPCServer(tracer)...)
	rpc := startGRPC(grpcListener, newGRPCAPI(store, ctx.Done(), log), options...)
	defer stopBoth(server, rpc)
	log.Info("listening for gRPC", "addr", grpcListener.Addr())

	health.Set("ready")
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		health.Drain(cfg.DrainTime)
		return nil
	case err := <-server.Failed:
		return err
	case err := <-rpc.failed:
		return err
	}
}

// stopBoth stops the servers at the same time, so that their time limits do not
// add up.
func stopBoth(server *web.HTTPServer, rpc *grpcServer) {
	var stopping sync.WaitGroup
	stopping.Go(server.Stop)
	stopping.Go(rpc.stop)
	stopping.Wait()
}
