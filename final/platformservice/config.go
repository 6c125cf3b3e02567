package platformservice

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Config is what can be set from outside. ConfigFromEnv says where from.
type Config struct {
	HTTPAddr               string        // where the REST API listens, host:port
	GRPCAddr               string        // where gRPC listens, host:port
	DatabaseURL            string        // see openStore
	DatabaseWait           time.Duration // how long to wait at start for a database that is not up
	Seed                   bool          // give an empty store some platforms
	CommandsServiceURL     string        // where new platforms are posted; empty: nowhere
	CommandsServiceTimeout time.Duration // how long that may take
	RabbitMQURL            string        // amqp://USER:PASSWORD@HOST:5672/; without a user it is guest
	Exchange               string        // the fanout exchange that events go to

	// What a process that holds several services hands over instead of having it
	// made from the settings above.
	HTTPListener net.Listener // nil: listen on HTTPAddr
	GRPCListener net.Listener // nil: listen on GRPCAddr
	Publisher    Publisher    // nil: RabbitMQ at RabbitMQURL
}

// ConfigFromEnv reads the configuration with lookup, which is os.LookupEnv. A
// variable that is not set has the value that serves development on one's own
// machine. The error names the variable that is wrong.
func ConfigFromEnv(lookup func(string) (string, bool)) (Config, error) {
	get := func(name, unset string) string {
		if value, ok := lookup(name); ok {
			return value
		}
		return unset
	}
	c := Config{
		HTTPAddr:           get("PLATFORMS_HTTP_ADDR", "localhost:5000"),
		GRPCAddr:           get("PLATFORMS_GRPC_ADDR", "localhost:5001"),
		DatabaseURL:        get("DATABASE_URL", "sqlite::memory:"),
		CommandsServiceURL: get("COMMANDS_SERVICE_URL", "http://localhost:6000/api/c/platforms"),
		RabbitMQURL:        get("RABBITMQ_URL", "amqp://localhost:5672/"),
		Exchange:           get("RABBITMQ_EXCHANGE", "trigger"),
	}
	var err error
	// Real data is not mixed with examples unless asked for.
	if c.Seed, err = strconv.ParseBool(get("SEED_DATA", strconv.FormatBool(!isSQLServer(c.DatabaseURL)))); err != nil {
		return Config{}, fmt.Errorf("SEED_DATA: %q is neither true nor false", get("SEED_DATA", ""))
	}
	if c.CommandsServiceTimeout, err = parseDuration("COMMANDS_SERVICE_TIMEOUT", get("COMMANDS_SERVICE_TIMEOUT", "2s")); err != nil {
		return Config{}, err
	}
	if c.DatabaseWait, err = parseDuration("DATABASE_WAIT", get("DATABASE_WAIT", "1m")); err != nil {
		return Config{}, err
	}
	if c.CommandsServiceURL != "" {
		u, err := url.Parse(c.CommandsServiceURL)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return Config{}, errors.New("COMMANDS_SERVICE_URL: not a URL such as http://localhost:6000/api/c/platforms")
		}
	}
	if _, err := amqp.ParseURI(c.RabbitMQURL); err != nil { // not shown: it may hold a password
		return Config{}, errors.New("RABBITMQ_URL: not a URL such as amqp://localhost:5672/")
	}
	if c.Exchange == "" {
		return Config{}, errors.New("RABBITMQ_EXCHANGE: must not be empty")
	}
	return c, nil
}

func parseDuration(name, value string) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%s: %q is not a duration such as 2s", name, value)
	}
	return d, nil
}
