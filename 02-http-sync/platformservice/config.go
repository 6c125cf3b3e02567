package platformservice

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// Config holds the settings. ConfigFromEnv reads them from the environment.
type Config struct {
	// Where the REST API listens, host:port.
	HTTPAddr string

	// The database, see openStore. Seed: store some example platforms when there
	// are none.
	DatabaseURL string
	Seed        bool

	// Where new platforms are posted, empty for nowhere, and the time limit of one
	// such call.
	CommandsServiceURL     string
	CommandsServiceTimeout time.Duration
}

// ConfigFromEnv reads the settings with lookup, os.LookupEnv except in tests. The
// defaults are for development on one's own machine. The error names every
// variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	env := environment{lookup: lookup}
	cfg := Config{
		HTTPAddr:    env.addr("PLATFORMS_HTTP_ADDR", "localhost:5000"),
		DatabaseURL: env.text("DATABASE_URL", "sqlite::memory:"),
		Seed:        env.boolean("SEED_DATA", true),

		CommandsServiceURL:     env.httpURL("COMMANDS_SERVICE_URL", "http://localhost:6000/api/c/platforms"),
		CommandsServiceTimeout: env.duration("COMMANDS_SERVICE_TIMEOUT", 2*time.Second),
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
func (e *environment) httpURL(name, fallback string) string {
	value := e.text(name, fallback)
	u, err := url.Parse(value)
	if value != "" && (err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https")) {
		e.errs = append(e.errs, fmt.Errorf("%s: not a URL such as %s", name, fallback))
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
