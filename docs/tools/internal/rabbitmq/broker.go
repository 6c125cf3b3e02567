// Package rabbitmq finds a RabbitMQ to use, or starts one: the broker at RABBITMQ_URL, a
// private node of the rabbitmq-server on this machine, or a container.
package rabbitmq

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"microcomm/docs/tools/internal/apt"
)

// Broker is a RabbitMQ to use.
type Broker struct {
	URL  string
	What string // what it is, in words, without a password
	Node *Node  // the private node, if it is one
	stop func()
}

// Stop ends the broker, unless it ran before.
func (b *Broker) Stop() {
	if b.stop != nil {
		b.stop()
	}
}

// Start finds a RabbitMQ or starts one: RABBITMQ_URL, a private node of the
// rabbitmq-server on this machine, a container, or, on Debian and Ubuntu, a
// private node of one that it installs.
func Start(ctx context.Context, progress io.Writer) (*Broker, error) {
	if given := os.Getenv("RABBITMQ_URL"); given != "" {
		return givenBroker(ctx, given, progress)
	}
	return StartAt(ctx, Ports{}, progress)
}

// Ports are where a broker listens on this machine.
type Ports struct {
	AMQP       int // 0 stands for a free one
	Management int // of the management page; 0 stands for none
}

// StartAt starts a RabbitMQ as Start does, whatever RABBITMQ_URL says, that listens
// on ports.
func StartAt(ctx context.Context, ports Ports, progress io.Writer) (*Broker, error) {
	server, err := apt.Settled(ctx, Find)
	if err != nil {
		return nil, err
	}
	var reasons []error
	if server != "" {
		b, err := nodeBroker(ctx, server, ports, progress)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		fmt.Fprintln(progress, "broker:", err)
		reasons = append(reasons, err)
	} else {
		reasons = append(reasons, errors.New("no rabbitmq-server on this machine"))
	}
	if err := CheckDocker(ctx); err == nil {
		b, err := containerBroker(ctx, ports, progress)
		if err == nil || ctx.Err() != nil {
			return b, err
		}
		fmt.Fprintln(progress, "broker:", err)
		reasons = append(reasons, err)
	} else {
		reasons = append(reasons, err)
	}
	if server == "" {
		server, err := apt.Install(ctx, "rabbitmq-server", Find, progress)
		if err == nil {
			return nodeBroker(ctx, server, ports, progress)
		}
		reasons = append(reasons, err)
	}
	var why strings.Builder
	for _, reason := range reasons {
		fmt.Fprintf(&why, "\n  - %v", reason)
	}
	return nil, fmt.Errorf("no RabbitMQ to work with:%s\nSet RABBITMQ_URL, or see: go tool lab doctor", why.String())
}

// givenBroker checks that the broker the user named responds. It never prints
// the URL, which may hold a password.
func givenBroker(ctx context.Context, given string, progress io.Writer) (*Broker, error) {
	u, err := url.Parse(given)
	if err != nil || u.Host == "" {
		return nil, errors.New("RABBITMQ_URL is not of the form amqp://host:port/")
	}
	port := u.Port()
	if port == "" {
		port = "5672"
	}
	address := net.JoinHostPort(u.Hostname(), port)
	b := &Broker{URL: given, What: "the one at RABBITMQ_URL, " + address}
	if u.Scheme == "amqps" {
		return b, nil // the services will see; a TLS handshake needs their settings
	}
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := waitForAMQP(ctx, address, nil, progress); err != nil {
		return nil, fmt.Errorf("RABBITMQ_URL is set, but %s does not respond: %w; unset RABBITMQ_URL to let lab bring its own", address, err)
	}
	return b, nil
}

func nodeBroker(ctx context.Context, server string, ports Ports, progress io.Writer) (*Broker, error) {
	n, err := startNode(ctx, server, ports, progress)
	if err != nil {
		return nil, err
	}
	return &Broker{URL: n.URL(), What: "a private node at " + n.address, Node: n, stop: n.Stop}, nil
}
