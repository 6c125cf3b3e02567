package settings

import (
	"time"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

// What follows reads the settings that several programs share. Each has one name,
// one default and one error, whichever program reads it.

// Broker reads RABBITMQ_URL, and RABBITMQ_TLS_CA_FILE, RABBITMQ_TLS_CERT_FILE and
// RABBITMQ_TLS_KEY_FILE for an amqps URL.
func (e *Env) Broker() (url string, files tlsconfig.Files) {
	url = e.AMQPURL("RABBITMQ_URL", "amqp://localhost:5672/")
	files, err := bus.TLSFromEnv(e.lookup, url)
	if err != nil {
		e.wrong["RABBITMQ_TLS"] = err // which names all three
	}
	return url, files
}

// Exchange reads RABBITMQ_EXCHANGE, the exchange of the events.
func (e *Env) Exchange() string { return e.BrokerName("RABBITMQ_EXCHANGE", "microcomm.platforms") }

// CommandsQueue reads COMMANDS_QUEUE. The name of its dead letters has to fit, too.
func (e *Env) CommandsQueue() string {
	queue := e.BrokerName("COMMANDS_QUEUE", "commands.platforms")
	e.FitsBroker("COMMANDS_QUEUE", bus.DeadQueue(queue))
	return queue
}

// HTTPLimits reads HTTP_MAX_IN_FLIGHT, how many requests may use the database at
// once, and HTTP_MAX_CONNECTIONS, how many connections may be open.
func (e *Env) HTTPLimits() (requests, connections int) {
	requests = e.Number("HTTP_MAX_IN_FLIGHT", 256, 1, 1_000_000)
	return requests, e.Number("HTTP_MAX_CONNECTIONS", max(512, requests), 1, 1_000_000)
}

// DrainTime reads DRAIN_TIME, how long requests are still handled after the signal
// to stop.
func (e *Env) DrainTime() time.Duration { return e.DurationUpTo("DRAIN_TIME", 0, 30*time.Second) }
