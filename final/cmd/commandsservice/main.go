// Command commandsservice runs CommandsService. It is configured by environment
// variables (commandsservice/config.go) and stops on SIGINT or SIGTERM. Its exit
// status is 2 when a setting is wrong, and 1 when it fails. --version prints its version.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/version"
)

func main() { os.Exit(run()) }

// run returns the exit status.
func run() int {
	if version.Asked("commandsservice", os.Args[1:], os.Stdout) {
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := settings.NewRecorder(os.LookupEnv)
	lookup, fileErr := settings.WithFiles(env.Lookup)
	log, logErr := telemetry.NewLogger(os.Stderr, lookup)
	exporter, traceErr := telemetry.ExporterFromEnv(lookup)
	cfg, cfgErr := commandsservice.ConfigFromEnv(lookup)
	if err := errors.Join(fileErr, logErr, traceErr, cfgErr); err != nil {
		log.Error("wrong settings", "error", err)
		return 2
	}
	log.Info("starting", "version", version.Name(), "config", settings.Masked(cfg))
	env.WarnMistyped(os.Environ(), log)
	tracers, stopTracing, err := exporter.Start(ctx, "commandsservice", version.Name(), log)
	if err != nil {
		log.Error("commandsservice ended", "error", err)
		return 1
	}
	defer stopTracing()
	if err := commandsservice.Run(ctx, cfg, commandsservice.Parts{Tracers: tracers}, log); err != nil {
		log.Error("commandsservice ended", "error", err)
		return 1
	}
	return 0
}
