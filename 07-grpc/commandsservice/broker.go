package commandsservice

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
	// heartbeat is how often each side sends something, if only to show that it is
	// alive. When nothing has arrived for 1.5 times as long, the library closes the
	// connection.
	heartbeat = 10 * time.Second
	// closeTimeout is how long a connection may take to close when the service stops.
	closeTimeout = 3 * time.Second
)

// declareExchange creates the exchange if it does not exist. The publisher and
// the subscriber must pass the same arguments: the broker refuses others.
func declareExchange(channel *amqp.Channel, name string) error {
	const durable, autoDelete, internal, noWait = false, false, false, false
	if err := channel.ExchangeDeclare(name, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", name, err)
	}
	return nil
}

// dialBroker connects to url. The caller must close the connection when ctx ends.
// To close it is to send a request and wait for the response, and a broker that is
// short of memory reads no requests from publishers. So dialBroker cuts the TCP
// connection closeTimeout after the end of ctx.
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
