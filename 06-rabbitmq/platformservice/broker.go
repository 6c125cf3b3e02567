package platformservice

import (
	"context"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// dialTimeout bounds connecting to the broker, and then the handshake. RabbitMQ
	// deliberately waits 3 seconds before it refuses a wrong password.
	dialTimeout = 5 * time.Second
	// heartbeat is how often both sides send something, if only to show that they
	// are still there. After 1.5 times of it without a byte from the broker the
	// connection is lost.
	heartbeat = 10 * time.Second
	// closeTimeout is how long a connection may take to close when the service stops.
	closeTimeout = 3 * time.Second
)

// declareExchange creates the exchange if it does not exist. The publisher and
// the subscriber both do it, with the same arguments: the broker refuses others.
func declareExchange(channel *amqp.Channel, name string) error {
	const durable, autoDelete, internal, noWait = false, false, false, false
	if err := channel.ExchangeDeclare(name, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", name, err)
	}
	return nil
}

// dialBroker connects to url. When ctx ends, the caller closes the connection.
// That is a question and an answer, and a broker that is short of memory reads
// no questions from publishers. So closeTimeout after the end of ctx the
// connection is cut, whatever it is doing.
func dialBroker(ctx context.Context, url string) (*amqp.Connection, error) {
	connection, err := amqp.DialConfig(url, amqp.Config{
		Heartbeat: heartbeat,
		Locale:    "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := amqp.DefaultDial(dialTimeout)(network, address)
			if err != nil {
				return nil, err
			}
			context.AfterFunc(ctx, func() {
				time.AfterFunc(closeTimeout, func() { conn.Close() })
			})
			return conn, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return connection, nil
}
