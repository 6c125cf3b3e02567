package commandsservice

import (
	"errors"
	"fmt"
	"net"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	// Where the REST API listens, host:port.
	HTTPAddr string

	// The database, see openStore.
	DatabaseURL string

	// The broker, amqp://USER:PASSWORD@HOST:5672/ (the default user is guest), and
	// the fanout exchange that delivers events.
	RabbitMQURL string
	Exchange    string

	// PlatformService's gRPC API, host:port.
	GRPCTarget string
}

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := environment{lookup: lookup}
	cfg := Config{
		HTTPAddr:    env.addr("COMMANDS_HTTP_ADDR", "localhost:6000"),
		DatabaseURL: env.text("COMMANDS_DATABASE_URL", "sqlite::memory:"),

		RabbitMQURL: env.amqpURL("RABBITMQ_URL", "amqp://localhost:5672/"),
		Exchange:    env.required("RABBITMQ_EXCHANGE", "trigger"),

		GRPCTarget: env.addr("PLATFORMS_GRPC_TARGET", "localhost:5001"),
	}
	return cfg, errors.Join(env.errs...)
}

// environment reads variables, and collects what is wrong with them.
type environment struct {
	lookup func(string) (string, bool)
	errs   []error
}

func (e *environment) text(name, fallback string) string {
	if value, ok := e.lookup(name); ok {
		return value
	}
	return fallback
}

// addr refuses an address without a port: to listen there would mean a random
// port and, without a host too, every network of the machine.
func (e *environment) addr(name, fallback string) string {
	value := e.text(name, fallback)
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is not an address such as %s", name, value, fallback))
	}
	return value
}

// amqpURL does not show the value in its error, because it may hold a password.
func (e *environment) amqpURL(name, fallback string) string {
	value := e.text(name, fallback)
	if _, err := amqp.ParseURI(value); err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s: not a URL such as %s", name, fallback))
	}
	return value
}

func (e *environment) required(name, fallback string) string {
	value := e.text(name, fallback)
	if value == "" {
		e.errs = append(e.errs, fmt.Errorf("%s: must not be empty", name))
	}
	return value
}
