package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/commandsservice"
	"microcomm/final/console"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/version"
	"microcomm/final/internal/web"
	"microcomm/final/platformservice"
)

// config are the settings of all parts.
type config struct {
	platforms   platformservice.Config
	commands    commandsservice.Config
	console     console.Config
	watched     bool // there is a console
	exporter    telemetry.Exporter
	gatewayAddr string
	trusted     []netip.Prefix // proxies in front of the gateway
}

// configFromEnv reads them. The error names every variable that is wrong.
func configFromEnv(lookup func(string) (string, bool)) (cfg config, err error) {
	lookup = without(lookup, "RABBITMQ_") // whatever they are: the bus is in memory
	var platformsErr, commandsErr, consoleErr, traceErr error
	cfg.platforms, platformsErr = platformservice.ConfigFromEnv(lookup)
	cfg.commands, commandsErr = commandsservice.ConfigFromEnv(lookup)
	cfg.console, consoleErr = console.ConfigFromEnv(lookup)
	cfg.exporter, traceErr = telemetry.ExporterFromEnv(lookup)
	env := settings.NewEnv(lookup)
	cfg.gatewayAddr = env.Addr("GATEWAY_ADDR", "localhost:8080")
	cfg.watched = env.OneOf("CONSOLE", "on", "off") == "on"
	// Between the services nothing leaves the process, and only the bus brings new platforms.
	cfg.platforms.HTTPAddr, cfg.platforms.GRPCAddr, cfg.platforms.RabbitMQURL, cfg.platforms.CommandsServiceURL = "", "", "", ""
	cfg.platforms.HTTPTLS, cfg.platforms.GRPCTLS = tlsconfig.Files{}, tlsconfig.Files{}
	cfg.commands.HTTPAddr, cfg.commands.RabbitMQURL = "", ""
	cfg.commands.HTTPTLS, cfg.commands.GRPCTLS = tlsconfig.Files{}, tlsconfig.Files{}
	cfg.console.HTTPAddr, cfg.console.RabbitMQURL, cfg.console.HTTPTLS = "", "", tlsconfig.Files{}
	cfg.platforms.GRPCClients = nil
	cfg.commands.Guard.Warned, cfg.console.Guard.Warned = true, true // once is enough
	cfg.platforms.Docs = "all"                                       // at the gateway, which routes /docs there as the Ingress does
	// The services see the gateway alone, which tells them who its client is.
	cfg.trusted = cfg.platforms.Guard.TrustedProxies
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	cfg.platforms.Guard.TrustedProxies = slices.Concat(cfg.trusted, []netip.Prefix{loopback})
	cfg.commands.Guard.TrustedProxies, cfg.console.Guard.TrustedProxies = cfg.platforms.Guard.TrustedProxies, cfg.platforms.Guard.TrustedProxies
	return cfg, once(platformsErr, commandsErr, consoleErr, traceErr, env.Err())
}

// once returns all errors in one, each line once: the services share settings.
func once(errs ...error) error {
	joined := errors.Join(errs...)
	if joined == nil {
		return nil
	}
	var lines []string
	for line := range strings.Lines(joined.Error()) {
		if line = strings.TrimSuffix(line, "\n"); !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return errors.New(strings.Join(lines, "\n"))
}

// run runs the system until ctx ends, and then returns nil, or until a part of
// it fails. The services communicate as they would in separate processes: by gRPC
// over loopback, on a free port, and by events over a bus, here in memory.
func run(ctx context.Context, cfg config, log *slog.Logger) error {
	front, err := net.Listen("tcp", cfg.gatewayAddr)
	if err != nil {
		return fmt.Errorf("listen for the gateway (GATEWAY_ADDR): %w", err)
	}
	defer front.Close()
	var p parts
	defer p.close()
	if err := p.open(ctx, &cfg, log); err != nil {
		return err
	}

	// The services outlive ctx, for as long as the gateway has requests for them.
	servicesCtx, stopServices := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stopServices()
	failed := make(chan error, 4) // one for each of the following
	start := func(name string, run func(*slog.Logger) error) {
		running.Go(func() {
			if err := run(log.With("service", name)); err != nil {
				failed <- fmt.Errorf("%s: %w", name, err)
			}
		})
	}
	start("commands", func(log *slog.Logger) error { return commandsservice.Run(servicesCtx, cfg.commands, p.commands, log) })
	start("platforms", func(log *slog.Logger) error { return platformservice.Run(servicesCtx, cfg.platforms, p.platforms, log) })
	gateway := p.gateway(cfg.trusted, log.With("service", "gateway"))
	defer stopGateway(gateway)
	if cfg.watched {
		consoleCtx, stopConsole := context.WithCancel(ctx)
		defer stopConsole() // first: a feed would hold up the gateway
		start("console", func(log *slog.Logger) error { return console.Run(consoleCtx, cfg.console, p.console, log) })
	}
	start("gateway", func(log *slog.Logger) error {
		log.Info("listening for HTTP", "addr", front.Addr().String())
		if err := gateway.Serve(web.LimitConnections(front, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})

	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// parts are what run hands over to the services.
type parts struct {
	platforms platformservice.Parts
	commands  commandsservice.Parts
	console   console.Parts
	closers   []func()
}

// open makes the parts, and names the address of gRPC in cfg. The caller must call
// close, also after an error.
func (p *parts) open(ctx context.Context, cfg *config, log *slog.Logger) (err error) {
	listeners := []*net.Listener{&p.platforms.HTTPListener, &p.platforms.GRPCListener, &p.commands.HTTPListener}
	if cfg.watched {
		p.console.Spans = console.NewSpans()
		listeners = append(listeners, &p.console.HTTPListener)
	}
	if p.platforms.Tracers, err = p.tracers(ctx, cfg.exporter, "platformservice", log); err != nil {
		return err
	}
	if p.commands.Tracers, err = p.tracers(ctx, cfg.exporter, "commandsservice", log); err != nil {
		return err
	}
	for _, listener := range listeners {
		if *listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("listen on loopback: %w", err)
		}
		p.closers = append(p.closers, func() { _ = (*listener).Close() })
	}
	cfg.commands.GRPCTarget = p.platforms.GRPCListener.Addr().String()
	memory := &bus.Memory{Tracer: p.commands.Tracers.Tracer("microcomm/final/internal/bus")}
	if cfg.watched {
		p.watch(cfg, memory)
	}
	p.platforms.Publisher, p.commands.Subscriber = memory, memory.Subscriber(cfg.commands.Queue)
	return nil
}

// watch gives the console what it watches.
func (p *parts) watch(cfg *config, memory *bus.Memory) {
	cfg.console.PlatformsURL = "http://" + p.platforms.HTTPListener.Addr().String()
	cfg.console.CommandsURL = "http://" + p.commands.HTTPListener.Addr().String()
	p.console.Client = "127.0.0.2" // a client of its own: its requests take nothing from the rate limit of one at 127.0.0.1
	events := make(chan bus.Message, 1024)
	memory.Tap, p.console.Events = events, events
	p.console.Queues = func() []console.QueueState {
		state := memory.State(cfg.commands.Queue)
		return []console.QueueState{
			{Name: cfg.commands.Queue, Role: "work", Depth: state.Ready, Consumers: state.Consumers},
			{Name: cfg.commands.Queue + ".retry", Role: "retry", Depth: state.Delayed},
			{Name: bus.DeadQueue(cfg.commands.Queue), Role: "dead", Depth: state.Dead},
		}
	}
}

func (p *parts) tracers(ctx context.Context, exporter telemetry.Exporter, service string, log *slog.Logger) (trace.TracerProvider, error) {
	var options []sdktrace.TracerProviderOption
	if p.console.Spans != nil {
		options = p.console.Spans.Options(exporter.Sends())
	}
	tracers, stop, err := exporter.Start(ctx, service, version.Name(), log, options...)
	if err == nil {
		p.closers = append(p.closers, stop)
	}
	return tracers, err
}

// close ends what open has made, in the reverse order.
func (p *parts) close() {
	for _, end := range slices.Backward(p.closers) {
		end()
	}
}

// gateway returns the server in front of the services.
func (p *parts) gateway(trusted []netip.Prefix, log *slog.Logger) *http.Server {
	watched := ""
	if p.console.HTTPListener != nil {
		watched = p.console.HTTPListener.Addr().String()
	}
	handler := newGateway(p.platforms.HTTPListener.Addr().String(), p.commands.HTTPListener.Addr().String(), watched, trusted, log)
	server := web.NewServer(handler, maxConnections, log)
	server.ReadTimeout, server.WriteTimeout = 15*time.Second, writeTimeout
	return server
}

// stopGateway accepts no new requests, and waits some seconds for the others.
func stopGateway(gateway *http.Server) {
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if gateway.Shutdown(grace) != nil {
		gateway.Close()
	}
}

// without returns lookup with the variables that begin with prefix unset.
func without(lookup func(string) (string, bool), prefix string) func(string) (string, bool) {
	return func(asked string) (string, bool) {
		if strings.HasPrefix(asked, prefix) {
			return "", false
		}
		return lookup(asked)
	}
}
