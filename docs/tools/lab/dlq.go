package main

import "context"

func dlqVerb() verb {
	return verb{
		name:    "dlq",
		args:    "list|show|replay|drop [every] [ID]",
		summary: "shows the events that final could not handle, and replays them",
		about: `  go tool lab dlq list           lists the dead letters of CommandsService
  go tool lab dlq show ID        shows one, with its headers and its body
  go tool lab dlq replay ID      puts it back into the queue; all: every one
  go tool lab dlq drop ID        deletes it
  go tool lab dlq drop every ID  deletes all that have this id

Instead of an ID, @3 is the third in the list.

The broker is the one at RABBITMQ_URL (amqp://localhost:5672/), the service's queue
COMMANDS_QUEUE (commands.platforms). RABBITMQ_URL_FILE and RABBITMQ_TLS_CA_FILE,
_CERT_FILE and _KEY_FILE are read as the services do. This is cmd/dlq in final.`,
		run: func(ctx context.Context, l *lab, args []string) error {
			return runProgram(ctx, l, "final", "cmd/dlq", args)
		},
	}
}
