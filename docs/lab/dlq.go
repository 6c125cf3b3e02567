package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
)

func dlqVerb() verb {
	return verb{
		name:    "dlq",
		args:    "list|show|replay|drop [ID]",
		summary: "shows the events that final could not handle, and replays them",
		about: `  go tool lab dlq list          lists the dead letters of CommandsService
  go tool lab dlq show ID       shows one, with its headers and its body
  go tool lab dlq replay ID     puts it back into the queue; all: every one
  go tool lab dlq drop ID       deletes it

The broker is the one at RABBITMQ_URL (amqp://localhost:5672/), the service's queue
COMMANDS_QUEUE (commands.platforms). RABBITMQ_URL_FILE and RABBITMQ_TLS_CA_FILE,
_CERT_FILE and _KEY_FILE are read as the services do. This is cmd/dlq in final.`,
		run: func(ctx context.Context, l *lab, args []string) error {
			command := exec.CommandContext(ctx, "go", append([]string{"run", "./cmd/dlq"}, args...)...)
			command.Dir = filepath.Join(l.root, "final")
			command.Env = append(os.Environ(), "GOWORK=off")
			for _, name := range []string{"RABBITMQ_URL_FILE", "RABBITMQ_TLS_CA_FILE", "RABBITMQ_TLS_CERT_FILE", "RABBITMQ_TLS_KEY_FILE"} {
				if file := os.Getenv(name); file != "" {
					path, err := filepath.Abs(file) // it runs in another folder
					if err != nil {
						return err
					}
					command.Env = append(command.Env, name+"="+path)
				}
			}
			command.Stdout, command.Stderr = l.out, l.err
			if command.Run() != nil {
				return errReported
			}
			return nil
		},
	}
}
