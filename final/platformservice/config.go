package platformservice

import (
	"errors"
	"fmt"
	"microcomm/final/internal/sqlserver"
	"net"
	"net/url"
	"slices"
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
	Seed        bool   // store some example platforms when there are none

	CommandsServiceURL     string        // where new platforms are posted; empty: nowhere
	CommandsServiceTimeout time.Duration // for one such call

	DatabaseWait time.Duration // how long to wait at start for a database that is not up

	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; the default user is guest
	Exchange    string // the durable fanout exchange that events are published to
	BindTrigger bool   // pass the events on to the exchange trigger, for .NET services

	GRPCAddr string // where gRPC listens, host:port

	SQLiteSynchronous string        // FULL or NORMAL; see openSQLite
	DrainTime         time.Duration // how long requests are still handled after the signal to stop
	MaxInFlight       int           // REST requests that are handled at once; more get a 503

	HTTPTLS tlsconfig.Files // HTTPS, when there is a certificate
	GRPCTLS tlsconfig.Files // gRPC over TLS, the same; with a CA for clients that have a certificate of it

	RabbitMQTLS        tlsconfig.Files // for an amqps URL
	CommandsServiceTLS tlsconfig.Files // for an https URL
}

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := environment{lookup: lookup}
	cfg := Config{
		HTTPAddr:    env.addr("PLATFORMS_HTTP_ADDR", "localhost:5000"),
		DatabaseURL: env.text("DATABASE_URL", "sqlite::memory:"),

		CommandsServiceURL:     env.httpURL("COMMANDS_SERVICE_URL"),
		CommandsServiceTimeout: env.duration("COMMANDS_SERVICE_TIMEOUT", 2*time.Second),

		DatabaseWait: env.duration("DATABASE_WAIT", time.Minute),

		RabbitMQURL: env.amqpURL("RABBITMQ_URL", "amqp://localhost:5672/"),
		Exchange:    env.required("RABBITMQ_EXCHANGE", "microcomm.platforms"),
		BindTrigger: env.boolean("RABBITMQ_BIND_TRIGGER", false),

		GRPCAddr: env.addr("PLATFORMS_GRPC_ADDR", "localhost:5001"),

		SQLiteSynchronous: env.oneOf("SQLITE_SYNCHRONOUS", "FULL", "NORMAL"),
		DrainTime:         env.durationUpTo("DRAIN_TIME", 0, 30*time.Second),
		MaxInFlight:       env.positive("HTTP_MAX_IN_FLIGHT", 256),

		HTTPTLS: env.serverTLS("PLATFORMS_TLS"),
		GRPCTLS: env.serverTLS("PLATFORMS_GRPC_TLS"),
	}
	// Real data is not mixed with examples unless asked for.
	cfg.Seed = env.boolean("SEED_DATA", !sqlserver.IsURL(cfg.DatabaseURL))
	cfg.CommandsServiceTLS = env.clientTLS("COMMANDS_SERVICE_TLS")
	if cfg.CommandsServiceTLS != (tlsconfig.Files{}) && !strings.HasPrefix(cfg.CommandsServiceURL, "https://") {
		env.errs = append(env.errs, errors.New("COMMANDS_SERVICE_TLS_*_FILE: COMMANDS_SERVICE_URL is not an https URL"))
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

func (e *environment) boolean(name string, fallback bool) bool {
	text := e.text(name, strconv.FormatBool(fallback))
	value, err := strconv.ParseBool(text)
	if err != nil {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is neither true nor false", name, text))
	}
	return value
}

// httpURL accepts an empty value too. The error does not show the value, which
// may hold a password.
func (e *environment) httpURL(name string) string {
	value := e.text(name, "")
	u, err := url.Parse(value)
	if value != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		e.errs = append(e.errs, fmt.Errorf("%s: not a URL such as http://localhost:6000/api/c/platforms", name))
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

// oneOf accepts the values; the first is the default.
func (e *environment) oneOf(name string, values ...string) string {
	value := e.text(name, values[0])
	if !slices.Contains(values, value) {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is none of %s", name, value, strings.Join(values, ", ")))
	}
	return value
}

// positive accepts integers from 1 to 1,000,000.
func (e *environment) positive(name string, fallback int) int {
	text := e.text(name, strconv.Itoa(fallback))
	value, err := strconv.Atoi(text)
	if err != nil || value < 1 || value > 1_000_000 {
		e.errs = append(e.errs, fmt.Errorf("%s: %q is not an integer from 1 to 1000000", name, text))
	}
	return value
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
