// Command microcomm runs the whole system in one process: both services, the
// bus between them and one gateway. It needs nothing else: the databases and
// the bus are in memory. It stops on SIGINT or SIGTERM.
//
// Settings, beside those of the services: GATEWAY_ADDR, where the gateway
// listens (localhost:8080).
package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
)

// version is set when the binary is built: -ldflags "-X main.version=1.2.3".
var version = "development"

func main() { os.Exit(start()) }

// start returns the exit status: 2 when a setting is wrong.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	lookup, fileErr := settings.WithFiles(os.LookupEnv)
	log, logErr := telemetry.NewLogger(os.Stderr, lookup)
	if err := errors.Join(fileErr, logErr); err != nil {
		slog.New(slog.NewTextHandler(os.Stderr, nil)).Error("wrong settings", "error", err)
		return 2
	}
	log.Info("starting", "version", version)
	err := run(ctx, lookup, log)
	if err == nil {
		return 0
	}
	log.Error("microcomm ended", "error", err)
	if errors.Is(err, settings.ErrWrong) {
		return 2
	}
	return 1
}
