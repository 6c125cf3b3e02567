package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/bus"
	"microcomm/final/platformservice"
)

// run runs the system until ctx ends, which is no error, or a part of it fails.
// The services talk as they would apart: gRPC over loopback, on a port that is
// free, and events over a bus; here that is in memory.
func run(ctx context.Context, lookup func(string) (string, bool), log *slog.Logger) error {
	platforms, err := platformservice.ConfigFromEnv(lookup)
	if err != nil {
		return err
	}
	commands, err := commandsservice.ConfigFromEnv(lookup)
	if err != nil {
		return err
	}
	gatewayAddr := "localhost:8080"
	if addr, ok := lookup("GATEWAY_ADDR"); ok {
		gatewayAddr = addr
	}
	front, err := net.Listen("tcp", gatewayAddr)
	if err != nil {
		return fmt.Errorf("listen for the gateway (GATEWAY_ADDR): %w", err)
	}
	defer front.Close()

	var listeners [3]net.Listener
	for i := range listeners {
		if listeners[i], err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			return fmt.Errorf("listen on loopback: %w", err)
		}
		defer listeners[i].Close()
	}
	platforms.HTTPListener, platforms.GRPCListener, commands.HTTPListener = listeners[0], listeners[1], listeners[2]
	commands.GRPCTarget = listeners[1].Addr().String()
	platforms.CommandsServiceURL = "" // new platforms go by the bus alone
	memory := &bus.Memory{}
	platforms.Publisher, commands.Subscriber = memory, memory

	// The services outlive ctx, for as long as the gateway has requests for them.
	servicesCtx, stopServices := context.WithCancel(context.WithoutCancel(ctx))
	var running sync.WaitGroup
	defer running.Wait()
	defer stopServices()
	failed := make(chan error, 3) // one for each part
	running.Go(func() {
		if err := commandsservice.Run(servicesCtx, commands, log.With("service", "commands")); err != nil {
			failed <- fmt.Errorf("commands: %w", err)
		}
	})
	running.Go(func() {
		if err := platformservice.Run(servicesCtx, platforms, log.With("service", "platforms")); err != nil {
			failed <- fmt.Errorf("platforms: %w", err)
		}
	})

	gatewayLog := log.With("service", "gateway")
	gateway := &http.Server{
		Handler:           newGateway(listeners[0].Addr().String(), listeners[2].Addr().String(), gatewayLog),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
	}
	running.Go(func() {
		if err := gateway.Serve(front); !errors.Is(err, http.ErrServerClosed) {
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
