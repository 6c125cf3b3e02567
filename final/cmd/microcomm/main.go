// Command microcomm runs the whole system in one process: both services, the
// bus between them, the console and one gateway. It needs nothing else: the databases and
// the bus are in memory. It stops on SIGINT or SIGTERM.
//
// Settings, beside those of the services: GATEWAY_ADDR, where the gateway
// listens (localhost:8080), and CONSOLE, on or off.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/version"
)

func main() { os.Exit(start()) }

// start returns the exit status: 2 when a setting is wrong.
func start() int {
	if version.Asked("microcomm", os.Args[1:], os.Stdout) {
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := settings.NewRecorder(os.LookupEnv)
	lookup, fileErr := settings.WithFiles(env.Lookup)
	log, logErr := telemetry.NewLogger(os.Stderr, lookup)
	cfg, cfgErr := configFromEnv(lookup)
	if err := errors.Join(fileErr, logErr, cfgErr); err != nil {
		log.Error("wrong settings", "error", err)
		return 2
	}
	log.Info("starting", "version", version.Name(), "platforms", settings.Masked(cfg.platforms), "commands", settings.Masked(cfg.commands))
	env.WarnMistyped(os.Environ(), log)
	if err := run(ctx, cfg, log); err != nil {
		log.Error("microcomm ended", "error", err)
		return 1
	}
	return 0
}
