package commandsservice

import (
	"context"
	"fmt"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// brokerTimeout bounds each step of a talk with the broker: to connect, to
// agree on a connection, to write, to say goodbye.
const brokerTimeout = 3 * time.Second

// declareExchange makes sure that the exchange is there. Whoever comes first,
// publisher or subscriber, creates it; both have to ask for the same.
func declareExchange(channel *amqp.Channel, name string) error {
	const durable, autoDelete, internal, noWait = false, false, false, false
	if err := channel.ExchangeDeclare(name, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil); err != nil {
		return fmt.Errorf("declare exchange %s: %w", name, err)
	}
	return nil
}

// dialBroker connects to url. No step of it outlasts brokerTimeout, and ctx ends
// the first one, which is to reach the broker at all. Later calls end at the
// latest when the broker has missed its heartbeats, after some 15 seconds.
func dialBroker(ctx context.Context, url string) (*amqp.Connection, error) {
	connection, err := amqp.DialConfig(url, amqp.Config{
		Locale: "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{Timeout: brokerTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// The deadline of the handshake; the library clears it afterwards.
			if err := conn.SetDeadline(time.Now().Add(brokerTimeout)); err != nil {
				return nil, err
			}
			return writeDeadlineConn{conn}, nil
		},
	})
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return connection, nil
}

// writeDeadlineConn gives every write a deadline. The library's Publish takes a
// context and ignores it: without this, a broker that stops reading would hold
// a POST for as long as it likes.
type writeDeadlineConn struct {
	net.Conn
}

func (c writeDeadlineConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(brokerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}
