package commandsservice

import (
	"errors"
	"net"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Config is what can be set from outside. ConfigFromEnv says where from.
type Config struct {
	HTTPAddr    string // where the REST API listens, host:port
	DatabaseURL string // see openStore
	RabbitMQURL string // amqp://USER:PASSWORD@HOST:5672/; without a user it is guest
	Exchange    string // the fanout exchange that events come from
	GRPCTarget  string // PlatformService's gRPC server, host:port

	// What a process that holds several services hands over instead of having it
	// made from the settings above.
	HTTPListener net.Listener // nil: listen on HTTPAddr
	Subscriber   Subscriber   // nil: RabbitMQ at RabbitMQURL
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
		HTTPAddr:    get("COMMANDS_HTTP_ADDR", "localhost:6000"),
		DatabaseURL: get("COMMANDS_DATABASE_URL", "sqlite::memory:"),
		RabbitMQURL: get("RABBITMQ_URL", "amqp://localhost:5672/"),
		Exchange:    get("RABBITMQ_EXCHANGE", "trigger"),
		GRPCTarget:  get("PLATFORMS_GRPC_TARGET", "localhost:5001"),
	}
	if _, err := amqp.ParseURI(c.RabbitMQURL); err != nil { // not shown: it may hold a password
		return Config{}, errors.New("RABBITMQ_URL: not a URL such as amqp://localhost:5672/")
	}
	if c.Exchange == "" {
		return Config{}, errors.New("RABBITMQ_EXCHANGE: must not be empty")
	}
	return c, nil
}
