package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	"microcomm/docs/tools/internal/rabbitmq"
)

func brokerVerb() verb {
	return verb{
		name:    "broker",
		summary: "starts a RabbitMQ alone, to stop and start separately from the services",
		about: `It listens where RABBITMQ_URL says, localhost:5672 unless that is set, until Ctrl-C. Its
queues and messages are lost then. Services that you start by hand find it there; lab run and
lab test use it when RABBITMQ_URL is set:
  RABBITMQ_URL=amqp://localhost:5672/ go tool lab run 06

Its management page shows the exchanges and queues, as user guest with the password guest: at
http://localhost:15672 unless RABBITMQ_MANAGEMENT_ADDR says another address of localhost.`,
		run: func(ctx context.Context, l *lab, _ []string) error { return unlessStopped(ctx, l, broker(ctx, l)) },
	}
}

// broker runs a broker until ctx is done.
func broker(ctx context.Context, l *lab) error {
	port, err := brokerPort(os.Getenv("RABBITMQ_URL"))
	if err != nil {
		return err
	}
	if err := portFree(ctx, net.JoinHostPort("localhost", strconv.Itoa(port))); err != nil {
		return fmt.Errorf("%w%s; RABBITMQ_URL moves ours, for example RABBITMQ_URL=amqp://%s/", err, installedBroker(), someFreeAddress())
	}
	page := cmp.Or(os.Getenv("RABBITMQ_MANAGEMENT_ADDR"), "localhost:15672")
	pagePort, err := localPort(page)
	if err != nil {
		return usageError("RABBITMQ_MANAGEMENT_ADDR is not of the form localhost:PORT")
	}
	if err := portFree(ctx, page); err != nil {
		return fmt.Errorf("%w%s; RABBITMQ_MANAGEMENT_ADDR moves ours, for example RABBITMQ_MANAGEMENT_ADDR=%s", err, installedBroker(), someFreeAddress())
	}
	b, err := rabbitmq.StartAt(ctx, rabbitmq.Ports{AMQP: port, Management: pagePort}, l.err)
	if err != nil {
		return err
	}
	defer b.Stop()
	fmt.Fprintf(l.out, "broker: %s\nIts page: http://localhost:%d (user guest, password guest)\n\nFor lab run and lab test, in another terminal:\n  export RABBITMQ_URL=amqp://localhost:%d/\n\nCtrl-C stops it.\n", b.What, pagePort, port)
	if b.Node == nil {
		<-ctx.Done()
		return ctx.Err()
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-b.Node.Process().Done():
		return fmt.Errorf("the broker ended unexpectedly: %s", b.Node.Process().Ending())
	}
}

// brokerPort returns the port of this machine in given, the value of RABBITMQ_URL.
func brokerPort(given string) (int, error) {
	if given == "" {
		return 5672, nil
	}
	u, err := url.Parse(given)
	if err == nil && u.Scheme == "amqp" {
		address := u.Host
		if u.Port() == "" {
			address = net.JoinHostPort(u.Hostname(), "5672")
		}
		if port, err := localPort(address); err == nil {
			return port, nil
		}
	}
	return 0, usageError("RABBITMQ_URL is not of the form amqp://localhost:PORT/, where broker could listen")
}

// localPort returns the port of an address of this machine.
func localPort(address string) (int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0, err
	}
	if host != "localhost" && host != "127.0.0.1" {
		return 0, fmt.Errorf("%s is not localhost", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%s is not a port", port)
	}
	return int(n), nil
}
