// Command microcomm runs the whole system in one process: both services, the
// bus between them and one gateway. It needs nothing else: the databases and
// the bus are in memory. It stops on SIGINT or SIGTERM.
//
// Settings, beside those of the services: GATEWAY_ADDR, where the gateway
// listens (localhost:8080).
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

// version is set when the binary is built: -ldflags "-X main.version=1.2.3".
var version = "development"

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	log.Info("starting", "version", version)
	if err := run(ctx, os.LookupEnv, log); err != nil {
		log.Error("microcomm ended", "error", err)
		os.Exit(1)
	}
}
