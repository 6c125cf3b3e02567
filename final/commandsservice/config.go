package commandsservice

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore

	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; the default user is guest
	Exchange    string // the durable fanout exchange that events come from

	Queue       string          // the durable queue that all replicas share
	Prefetch    int             // how many events the broker sends before they are acknowledged
	RetryDelays []time.Duration // before an event is delivered again: one for each attempt after the first

	GRPCTarget string // PlatformService's gRPC server, host:port

	DrainTime            time.Duration // how long requests are still handled after the signal to stop
	MaxInFlight          int           // REST requests that are handled at once; more get a 503
	DatabaseWait         time.Duration // how long to wait at start for a database that is not up
	BackfillReadyTimeout time.Duration // how long the service is unready for a first backfill that does not end

	HTTPTLS tlsconfig.Files // HTTPS, when there is a certificate
	GRPCTLS tlsconfig.Files // gRPC over TLS, when there is a CA or a certificate

	RabbitMQTLS tlsconfig.Files // for an amqps URL
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
		Exchange:    env.required("RABBITMQ_EXCHANGE", "microcomm.platforms"),

		Queue:       env.required("COMMANDS_QUEUE", "commands.platforms"),
		Prefetch:    env.number("COMMANDS_PREFETCH", 512, 1, 65535),
		RetryDelays: env.durations("COMMANDS_RETRY_DELAYS", bus.RetryDelays()),

		GRPCTarget: env.addr("PLATFORMS_GRPC_TARGET", "localhost:5001"),

		DrainTime:            env.durationUpTo("DRAIN_TIME", 0, 30*time.Second),
		MaxInFlight:          env.number("HTTP_MAX_IN_FLIGHT", 256, 1, 1_000_000),
		DatabaseWait:         env.duration("COMMANDS_DATABASE_WAIT", time.Minute),
		BackfillReadyTimeout: env.duration("BACKFILL_READY_TIMEOUT", 30*time.Second),

		HTTPTLS: env.serverTLS("COMMANDS_TLS"),
		GRPCTLS: env.clientTLS("COMMANDS_GRPC_TLS"),
	}
	var err error
	cfg.RabbitMQTLS, err = bus.TLSFromEnv(lookup, cfg.RabbitMQURL)
	return cfg, errors.Join(append(env.errs, err)...)
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

// duration accepts positive durations.
func (e *environment) duration(name string, fallback time.Duration) time.Duration {
	text := e.text(name, fallback.String())
	value, err := time.ParseDuration(text)
	if err != nil || value <= 0 {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is not a duration such as 2s", name, text))
	}
	return value
}

// durationUpTo accepts durations from 0 to most.
func (e *environment) durationUpTo(name string, fallback, most time.Duration) time.Duration {
	text := e.text(name, fallback.String())
	value, err := time.ParseDuration(text)
	if err != nil || value < 0 || value > most {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is not a duration from 0s to %s", name, text, most))
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

// number accepts whole numbers from least to most.
func (e *environment) number(name string, fallback, least, most int) int {
	text := e.text(name, strconv.Itoa(fallback))
	value, err := strconv.Atoi(text)
	if err != nil || value < least || value > most {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is not a number from %d to %d", name, text, least, most))
	}
	return value
}

// durations accepts positive durations, separated by commas, and an empty text
// for none.
func (e *environment) durations(name string, fallback []time.Duration) []time.Duration {
	text, ok := e.lookup(name)
	if !ok {
		return fallback
	}
	durations := []time.Duration{}
	for part := range strings.SplitSeq(text, ",") {
		if text == "" {
			break
		}
		value, err := time.ParseDuration(strings.TrimSpace(part))
		if err != nil || value < time.Millisecond {
			e.errs = append(e.errs, fmt.Errorf("%s: %q are not durations such as 1s,10s,1m", name, text))
			break
		}
		durations = append(durations, value)
	}
	return durations
}

// serverTLS reads prefix_CERT_FILE, prefix_KEY_FILE and prefix_CLIENT_CA_FILE.
func (e *environment) serverTLS(prefix string) tlsconfig.Files {
	files := tlsconfig.Files{
		Cert: e.text(prefix+"_CERT_FILE", ""), Key: e.text(prefix+"_KEY_FILE", ""), CA: e.text(prefix+"_CLIENT_CA_FILE", ""),
	}
	if _, err := files.Server(); err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s_CERT_FILE, %s_KEY_FILE, %s_CLIENT_CA_FILE: %w", prefix, prefix, prefix, err))
	}
	return files
}

// clientTLS reads prefix_CERT_FILE, prefix_KEY_FILE and prefix_CA_FILE.
func (e *environment) clientTLS(prefix string) tlsconfig.Files {
	files := tlsconfig.Files{
		Cert: e.text(prefix+"_CERT_FILE", ""), Key: e.text(prefix+"_KEY_FILE", ""), CA: e.text(prefix+"_CA_FILE", ""),
	}
	if _, err := files.Client(); err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s_CERT_FILE, %s_KEY_FILE, %s_CA_FILE: %w", prefix, prefix, prefix, err))
	}
	return files
}
