package platformservice

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
	"microcomm/final/internal/outbox"
	"microcomm/final/internal/requestid"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// Parts are what a process that runs several services hands over to this one.
// The service makes what is nil itself, from its Config.
type Parts struct {
	HTTPListener net.Listener         // instead of Config.HTTPAddr
	GRPCListener net.Listener         // instead of Config.GRPCAddr
	Publisher    bus.Publisher        // instead of RabbitMQ at Config.RabbitMQURL
	Tracers      trace.TracerProvider // instead of none: spans go nowhere
}

// service is what Run has built of the service, before anything is started.
type service struct {
	cfg       Config
	log       *slog.Logger
	store     platformStore
	registry  *prometheus.Registry
	tracer    trace.Tracer
	http      *telemetry.HTTP
	guard     *web.Guard
	publisher bus.Publisher
	relay     *outbox.Relay
	commands  *commandsClient // nil: CommandsService is not notified
	health    *web.Health
	described map[string]apidoc.File
}

// Run runs the service until ctx ends, and then returns nil. It returns an error
// when the service cannot start or cannot continue.
//
// What is started is stopped by a defer, in the reverse order: the servers first, and
// then, by close, what their requests use.
func Run(ctx context.Context, cfg Config, parts Parts, log *slog.Logger) error {
	s, err := build(cfg, parts, log)
	if err != nil {
		return err
	}
	defer s.close()

	listener, err := web.Listen(parts.HTTPListener, cfg.HTTPAddr, cfg.HTTPTLS, cfg.MaxConnections)
	if err != nil {
		return fmt.Errorf("listen for HTTP (PLATFORMS_HTTP_ADDR): %w", err)
	}
	s.guard.Start() // close stops it, after the last request
	running := servers{http: web.StartHTTP(listener, cfg.MaxConnections, s.handler(), log)}
	defer running.stop()
	log.Info("listening for HTTP", "addr", listener.Addr())
	if err := running.http.ServeAdmin(cfg.AdminAddr, cfg.HTTPTLS, s.adminHandler(), log); err != nil {
		return fmt.Errorf("listen for probes and metrics (PLATFORMS_ADMIN_ADDR): %w", err)
	}

	if err := setUp(ctx, s.store, cfg, log); err != nil {
		if ctx.Err() != nil {
			return nil // stopped while starting
		}
		return err
	}
	s.relay.Start() // close stops it, after the last request

	security, err := grpcSecurity(cfg.GRPCTLS, cfg.GRPCClients, log)
	if err != nil {
		return err
	}
	grpcListener, err := web.Listen(parts.GRPCListener, cfg.GRPCAddr, tlsconfig.Files{}, maxConnections)
	if err != nil {
		return fmt.Errorf("listen for gRPC (PLATFORMS_GRPC_ADDR): %w", err)
	}
	options := append(security, telemetry.GRPCServer(s.tracer)...)
	running.grpc = startGRPC(grpcListener, newGRPCAPI(s.store, ctx.Done(), log), options...)
	log.Info("listening for gRPC", "addr", grpcListener.Addr())

	s.health.Set(web.Ready)
	log.Info("ready")
	select {
	case <-ctx.Done():
		log.Info("stopping")
		s.health.Drain(cfg.DrainTime)
		return nil
	case err := <-running.http.Failed:
		return err
	case err := <-running.grpc.failed:
		return err
	}
}

// build makes the parts of the service and connects them. It starts nothing that
// has to be waited for but the publisher's connection; the caller must call close.
func build(cfg Config, parts Parts, log *slog.Logger) (*service, error) {
	apis := []apidoc.API{{Document: final.PlatformsAPI, Address: "http://localhost:5000"}}
	if cfg.Docs == "all" {
		apis = final.GatewayAPIs()
	}
	described, err := apidoc.Files("microcomm", apis...)
	if err != nil {
		return nil, err
	}
	store, err := openStore(cfg.DatabaseURL, cfg.SQLiteSynchronous)
	if err != nil {
		return nil, err
	}
	s := &service{cfg: cfg, log: log, store: store, registry: telemetry.NewRegistry(), publisher: parts.Publisher, described: described}
	s.registry.MustRegister(store.collectors()...)
	s.registry.MustRegister(outbox.NewCollector(store))

	tracers := parts.Tracers
	if tracers == nil {
		tracers = noop.NewTracerProvider()
	}
	s.tracer = tracers.Tracer("microcomm/final/platformservice")
	s.http = telemetry.NewHTTP(s.registry, s.tracer)
	if s.guard, err = web.NewGuard(cfg.Guard, log); err != nil {
		store.close()
		return nil, err
	}

	if cfg.CommandsServiceURL != "" {
		s.commands, err = newCommandsClient(cfg.CommandsServiceURL, cfg.CommandsServiceTimeout, cfg.CommandsServiceTLS, s.tracer)
		if err != nil {
			store.close()
			return nil, err
		}
	}
	if s.publisher == nil {
		s.publisher = NewRabbitMQPublisher(cfg, s.registry, log)
	}
	s.relay = outbox.NewRelay(store, s.publisher, s.registry, s.tracer, log)
	s.health = web.NewHealth(log, append(s.guard.Checks(),
		web.Check{Name: "database", Failing: "the database does not respond", Reason: sqlite.Reason, Run: store.ping},
		web.BrokerCheck(s.publisher.Connected))...)
	return s, nil
}

// close ends what build has made, in the reverse order.
func (s *service) close() {
	s.guard.Stop()
	s.relay.Stop()
	s.publisher.Close()
	if s.commands != nil {
		s.commands.close()
	}
	s.store.close()
}

// handler returns the routes, and around them, from the inside out, a layer a line.
func (s *service) handler() http.Handler {
	api := &restAPI{store: s.store, guard: s.guard, wake: s.relay.Wake, commands: s.commands, slots: web.NewSlots(s.cfg.RequestLimit), described: s.described, log: s.log}
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

// servers are the servers that have been started.
type servers struct {
	http *web.HTTPServer
	grpc *grpcServer // nil: not yet
}

// stop stops both at the same time, so that their time limits do not add up.
func (s *servers) stop() {
	var stopping sync.WaitGroup
	stopping.Go(s.http.Stop)
	if s.grpc != nil {
		stopping.Go(s.grpc.stop)
	}
	stopping.Wait()
}
