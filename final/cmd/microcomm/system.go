package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
	"microcomm/final/platformservice"
)

// config are the settings of all parts.
type config struct {
	platforms   platformservice.Config
	commands    commandsservice.Config
	exporter    telemetry.Exporter
	gatewayAddr string
}

// configFromEnv reads them. The error names every variable that is wrong.
func configFromEnv(lookup func(string) (string, bool)) (cfg config, err error) {
	lookup = without(lookup, "RABBITMQ_") // whatever they are: the bus is in memory
	var platformsErr, commandsErr, traceErr error
	cfg.platforms, platformsErr = platformservice.ConfigFromEnv(lookup)
	cfg.commands, commandsErr = commandsservice.ConfigFromEnv(lookup)
	cfg.exporter, traceErr = telemetry.ExporterFromEnv(lookup)
	env := settings.NewEnv(lookup)
	cfg.gatewayAddr = env.Addr("GATEWAY_ADDR", "localhost:8080")
	// Between the services nothing leaves the process, and only the bus brings new platforms.
	cfg.platforms.HTTPAddr, cfg.platforms.GRPCAddr, cfg.platforms.RabbitMQURL, cfg.platforms.CommandsServiceURL = "", "", "", ""
	cfg.platforms.HTTPTLS, cfg.platforms.GRPCTLS = tlsconfig.Files{}, tlsconfig.Files{}
	cfg.commands.HTTPAddr, cfg.commands.RabbitMQURL = "", ""
	cfg.commands.HTTPTLS, cfg.commands.GRPCTLS = tlsconfig.Files{}, tlsconfig.Files{}
	return cfg, errors.Join(platformsErr, commandsErr, traceErr, env.Err())
}

// run runs the system until ctx ends, and then returns nil, or until a part of
// it fails. The services communicate as they would in processes of their own:
// by gRPC over loopback, on a free port, and by events over a bus, here in memory.
func run(ctx context.Context, cfg config, log *slog.Logger) error {
	platforms, commands := cfg.platforms, cfg.commands
	front, err := net.Listen("tcp", cfg.gatewayAddr)
	if err != nil {
		return fmt.Errorf("listen for the gateway (GATEWAY_ADDR): %w", err)
	}
	defer front.Close()

	platformsTracers, stopPlatformsTracing, err := cfg.exporter.Start(ctx, "platformservice", version, log)
	if err != nil {
		return err
	}
	defer stopPlatformsTracing()
	commandsTracers, stopCommandsTracing, err := cfg.exporter.Start(ctx, "commandsservice", version, log)
	if err != nil {
		return err
	}
	defer stopCommandsTracing()

	var listeners [3]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("listen on loopback: %w", err)
		}
		defer listeners[i].Close()
	}
	commands.GRPCTarget = listeners[1].Addr().String()
	memory := &bus.Memory{}
	platformsParts := platformservice.Parts{HTTPListener: listeners[0], GRPCListener: listeners[1], Publisher: memory, Tracers: platformsTracers}
	commandsParts := commandsservice.Parts{HTTPListener: listeners[2], Subscriber: memory.Subscriber(commands.Queue), Tracers: commandsTracers}

	// The services outlive ctx, for as long as the gateway has requests for them.
	servicesCtx, stopServices := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stopServices()
	failed := make(chan error, 3) // one for each part
	running.Go(func() {
		if err := commandsservice.Run(servicesCtx, commands, commandsParts, log.With("service", "commands")); err != nil {
			failed <- fmt.Errorf("commands: %w", err)
		}
	})
	running.Go(func() {
		if err := platformservice.Run(servicesCtx, platforms, platformsParts, log.With("service", "platforms")); err != nil {
			failed <- fmt.Errorf("platforms: %w", err)
		}
	})

	gatewayLog := log.With("service", "gateway")
	handler := newGateway(listeners[0].Addr().String(), listeners[2].Addr().String(), gatewayLog)
	gateway := web.NewServer(handler, maxConnections, gatewayLog)
	gateway.ReadTimeout, gateway.WriteTimeout = 15*time.Second, writeTimeout
	running.Go(func() {
		if err := gateway.Serve(web.LimitConnections(front, maxConnections)); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("gateway: %w", err)
		}
	})
	gatewayLog.Info("listening for HTTP", "addr", front.Addr().String())

	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	grace, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if gateway.Shutdown(grace) != nil {
		gateway.Close()
	}
	return err
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
