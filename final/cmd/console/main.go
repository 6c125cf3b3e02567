// Command console runs the console. It is configured by environment
// variables (console/config.go) and stops on SIGINT or SIGTERM. Its exit
// status is 2 when a setting is wrong, and 1 when it fails. --version prints its version.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/console"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/version"
)

func main() { os.Exit(run()) }

// run returns the exit status.
func run() int {
	if version.Asked("console", os.Args[1:], os.Stdout) {
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := settings.NewRecorder(os.LookupEnv)
	lookup, fileErr := settings.WithFiles(env.Lookup)
	log, logErr := telemetry.NewLogger(os.Stderr, lookup)
	cfg, cfgErr := console.ConfigFromEnv(lookup)
	if err := errors.Join(fileErr, logErr, cfgErr); err != nil {
		log.Error("wrong settings", "error", err)
		return 2
	}
	log.Info("starting", "version", version.Name(), "config", settings.Masked(cfg))
	env.WarnMistyped(os.Environ(), log)
	if err := console.Run(ctx, cfg, console.Parts{}, log); err != nil {
		log.Error("console ended", "error", err)
		return 1
	}
	return 0
}
