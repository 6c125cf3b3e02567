// Command commandsservice runs CommandsService. It is configured by environment
// variables (commandsservice/config.go) and stops on SIGINT or SIGTERM.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"microcomm/02-http-sync/commandsservice"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(log); err != nil {
		log.Error("commandsservice ended", "error", err)
		os.Exit(1)
	}
}

func run(log *slog.Logger) error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cfg, err := commandsservice.ConfigFromEnv(os.LookupEnv)
	if err != nil {
		return err
	}
	return commandsservice.Run(ctx, cfg, log)
}
