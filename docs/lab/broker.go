package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	"microcomm/docs/internal/rabbitmq"
)

func brokerVerb() verb {
	return verb{
		name:    "broker",
		summary: "starts a RabbitMQ by itself, to stop and start apart from the services",
		about: `It listens where RABBITMQ_URL says, localhost:5672 unless that is set, until Ctrl-C. What it
holds goes with it. Services that are started by hand find it there; lab run and lab test use
it when RABBITMQ_URL is set:
  RABBITMQ_URL=amqp://localhost:5672/ go tool lab run 06`,
		run: func(ctx context.Context, l *lab, _ []string) error { return unlessStopped(ctx, l, broker(ctx, l)) },
	}
}

// broker runs a broker until ctx ends.
func broker(ctx context.Context, l *lab) error {
	port, err := brokerPort(os.Getenv("RABBITMQ_URL"))
	if err != nil {
		return err
	}
	if err := portFree(ctx, net.JoinHostPort("localhost", strconv.Itoa(port))); err != nil {
		return fmt.Errorf("%w; RABBITMQ_URL moves it, for example RABBITMQ_URL=amqp://%s/", err, someFreeAddress())
	}
	b, err := rabbitmq.StartAt(ctx, port, l.err)
	if err != nil {
		return err
	}
	defer b.Stop()
	fmt.Fprintf(l.out, "broker: %s\n\nFor lab run and lab test, in another terminal:\n  export RABBITMQ_URL=amqp://localhost:%d/\n\nCtrl-C stops it.\n", b.What, port)
	if b.Node == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.Node.Process().Done():
		return fmt.Errorf("the broker ended by itself: %s", b.Node.Process().Ending())
	}
}

// brokerPort returns the port of this machine that given, RABBITMQ_URL, names.
func brokerPort(given string) (int, error) {
	if given == "" {
		return 5672, nil
	}
	u, err := url.Parse(given)
	if err == nil && u.Scheme == "amqp" && (u.Hostname() == "localhost" || u.Hostname() == "127.0.0.1") {
		if u.Port() == "" {
			return 5672, nil
		}
		if port, err := strconv.Atoi(u.Port()); err == nil && port > 0 {
			return port, nil
		}
	}
	return 0, usageError("RABBITMQ_URL is not of the form amqp://localhost:PORT/, where broker could listen")
}
