// Command dlq shows the dead letters of CommandsService, and replays or drops
// them, while the system runs:
//
//	dlq list           lists them
//	dlq show ID        shows one, with its headers and its body
//	dlq replay ID|all  puts them back into the service's queue
//	dlq drop ID        deletes one
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

	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
	"microcomm/final/internal/tlsconfig"
)

const usage = "usage: dlq list | show ID | replay ID|all | drop ID"

func main() { os.Exit(start()) }

// start returns the exit status: 1 when it could not do what it was asked for, 2
// when it could not understand that.
func start() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := settings.NewRecorder(os.LookupEnv)
	cfg, err := configure(os.Args[1:], env.Lookup)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dlq:", err)
		return 2
	}
	env.WarnMistyped(os.Environ(), slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err := run(ctx, cfg, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dlq:", err)
		return 1
	}
	return 0
}

// config is what it was asked for, and where.
type config struct {
	verb, id   string
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
	default:
		return cfg, errors.New(usage)
	}
	lookup, fileErr := settings.WithFiles(lookup)
	env := settings.NewEnv(lookup)
	cfg.url = env.AMQPURL("RABBITMQ_URL", "amqp://localhost:5672/")
	cfg.queue = env.BrokerName("COMMANDS_QUEUE", "commands.platforms")
	env.FitsBroker("COMMANDS_QUEUE", bus.DeadQueue(cfg.queue))
	var tlsErr error
	cfg.tls, tlsErr = bus.TLSFromEnv(lookup, cfg.url)
	return cfg, errors.Join(fileErr, env.Err(), tlsErr)
}

// run does what cfg asks for.
func run(ctx context.Context, cfg config, out io.Writer) error {
	connection, err := bus.Dial(ctx, cfg.url, cfg.tls, bus.BrokerTimeout)
	if err != nil {
		return err
	}
	defer connection.Close() // what was not acknowledged stays
	letters, err := open(connection, cfg.queue)
	if err != nil {
		return err
	}
	switch cfg.verb {
	case "list":
		return letters.list(out)
	case "show":
		return letters.show(out, cfg.id)
	case "replay":
		return letters.replay(ctx, out, cfg.id)
	}
	return letters.drop(out, cfg.id)
}
