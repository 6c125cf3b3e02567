package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/process"
)

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
			env := append(os.Environ(), "GOWORK=off")
			for _, name := range []string{"RABBITMQ_URL_FILE", "RABBITMQ_TLS_CA_FILE", "RABBITMQ_TLS_CERT_FILE", "RABBITMQ_TLS_KEY_FILE"} {
				if file := os.Getenv(name); file != "" {
					path, err := filepath.Abs(file) // it runs in another folder
					if err != nil {
						return err
					}
					env = append(env, name+"="+path)
				}
			}
			dir, err := os.MkdirTemp("", "microcomm-dlq-")
			if err != nil {
				return err
			}
			defer process.RemoveAll(dir)
			program := filepath.Join(dir, "dlq.exe")
			err = process.Run(ctx, process.Command{Args: []string{"go", "build", "-buildvcs=false", "-o", program, "./cmd/dlq"},
				Dir: filepath.Join(l.root, "final"), Env: env, Stdout: l.err, Stderr: l.err})
			if err != nil {
				return fmt.Errorf("build final/cmd/dlq: %w", err)
			}
			p, err := process.Start(process.Command{Args: append([]string{program}, args...), Env: env, Stdout: l.out, Stderr: l.err})
			if err != nil {
				return err
			}
			defer p.Stop(10 * time.Second) // it says what it has done
			err = p.Wait(ctx)
			var exit *exec.ExitError
			if errors.As(err, &exit) && exit.ExitCode() == 2 {
				return usageError("see: go tool lab help dlq")
			}
			if errors.As(err, &exit) {
				return errReported
			}
			return err
		},
	}
}
