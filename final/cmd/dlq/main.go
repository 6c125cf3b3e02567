// Command dlq shows the dead letters of CommandsService, and replays or drops
// them, while the system runs:
//
//	dlq list           lists them
//	dlq show ID        shows one, with its headers and its body
//	dlq replay ID      puts it back into the service's queue
//	dlq replay all     puts back those that are there now
//	dlq drop ID        deletes one
//	dlq drop every ID  deletes all that have this id
//
// Instead of an ID, @3 is the third in the list. One dlq works at a time: the next
// waits for it. The exit status is 1 when it could not do all that it was asked for,
// and 2 for a wrong argument or setting.
//
// Settings, as for the service: RABBITMQ_URL or RABBITMQ_URL_FILE, RABBITMQ_TLS_*
// and COMMANDS_QUEUE.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/internal/settings"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/version"
)

const usage = "usage: dlq list | show ID | replay ID|all | drop [every] ID   (ID is an id, or @3 for the third in the list)"

func main() { os.Exit(start()) }

// start returns the exit status: 1 when it could not do what it was asked for, 2
// when it could not understand that.
func start() int {
	if version.Asked("dlq", os.Args[1:], os.Stdout) {
		return 0
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := settings.NewRecorder(os.LookupEnv)
	cfg, err := configure(os.Args[1:], env.Lookup)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dlq:", err)
		return 2
	}
	env.WarnMistyped(os.Environ(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := run(ctx, cfg, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "dlq:", err)
		return 1
	}
	return 0
}

// config is what it was asked for, and where.
type config struct {
	verb, id   string
	every      bool // drop all that have this id
	url, queue string
	tls        tlsconfig.Files
}

// configure reads the arguments and the settings.
func configure(args []string, lookup func(string) (string, bool)) (cfg config, err error) {
	if len(args) > 0 {
		cfg.verb = args[0]
	}
	switch {
	case cfg.verb == "list" && len(args) == 1:
	case len(args) == 2 && (cfg.verb == "show" || cfg.verb == "replay" || cfg.verb == "drop" && args[1] != "all"):
		cfg.id = args[1]
	case len(args) == 3 && cfg.verb == "drop" && args[1] == "every" && args[2] != "all":
		cfg.id, cfg.every = args[2], true
	default:
		return cfg, errors.New(usage)
	}
	lookup, fileErr := settings.WithFiles(lookup)
	env := settings.NewEnv(lookup)
	cfg.url, cfg.tls = env.Broker()
	cfg.queue = env.CommandsQueue() // the name of the lock is shorter than that of the dead letters
	return cfg, errors.Join(fileErr, env.Err())
}

// run does what cfg asks for.
func run(ctx context.Context, cfg config, out, notes io.Writer) error {
	letters, err := openLetters(ctx, cfg, notes)
	if err != nil {
		return err
	}
	defer letters.close(ctx) // what was not removed stays
	switch cfg.verb {
	case "list":
		return letters.list(ctx, out)
	case "show":
		return letters.show(ctx, out)
	case "replay":
		return letters.replay(ctx, out)
	}
	return letters.drop(ctx, out)
}
