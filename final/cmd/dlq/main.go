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
	"os"
	"os/signal"
	"syscall"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/settings"
)

const usage = "usage: dlq list | show ID | replay ID|all | drop ID"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.LookupEnv, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "dlq:", err)
		os.Exit(1)
	}
}

// run does what args ask for.
func run(ctx context.Context, args []string, lookup func(string) (string, bool), out io.Writer) error {
	verb, id := "", ""
	if len(args) > 0 {
		verb = args[0]
	}
	switch {
	case verb == "list" && len(args) == 1:
	case len(args) == 2 && (verb == "show" || verb == "replay" || verb == "drop" && args[1] != "all"):
		id = args[1]
	default:
		return errors.New(usage)
	}
	lookup, err := settings.WithFiles(lookup)
	if err != nil {
		return err
	}
	url, queue := "amqp://localhost:5672/", "commands.platforms"
	if value, ok := lookup("RABBITMQ_URL"); ok {
		url = value
	}
	if value, ok := lookup("COMMANDS_QUEUE"); ok {
		queue = value
	}
	files, err := bus.TLSFromEnv(lookup, url)
	if err != nil {
		return err
	}
	connection, err := bus.Dial(ctx, url, files, bus.BrokerTimeout)
	if err != nil {
		return err
	}
	defer connection.Close() // what was not acknowledged stays
	letters, err := open(connection, queue)
	if err != nil {
		return err
	}
	switch verb {
	case "list":
		return letters.list(out)
	case "show":
		return letters.show(out, id)
	case "replay":
		return letters.replay(ctx, out, id)
	}
	return letters.drop(out, id)
}
