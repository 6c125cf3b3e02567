package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// brokerTimeout bounds each step of a connection to the broker (connect, write,
// close) except the handshake. That gets longer, because RabbitMQ deliberately
// waits 3 seconds before it refuses a wrong password.
const (
	brokerTimeout    = 3 * time.Second
	handshakeTimeout = 5 * time.Second
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

// dialBroker connects to url. When ctx ends, the connection has brokerTimeout
// left, so that a broker that is silent does not delay the service's stop. While
// connected, a silent broker is detected by its missing heartbeats: after 15
// seconds, by the library's defaults.
func dialBroker(ctx context.Context, url string) (*amqp.Connection, error) {
	var conn *brokerConn
	connection, err := amqp.DialConfig(url, amqp.Config{
		Locale: "en_US",
		Dial: func(network, address string) (net.Conn, error) {
			tcp, err := (&net.Dialer{Timeout: brokerTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			// For the handshake. The library clears the deadline afterwards.
			if err := tcp.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
				tcp.Close()
				return nil, err
			}
			conn = &brokerConn{Conn: tcp}
			conn.release = context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Now().Add(brokerTimeout)) })
			return conn, nil
		},
	})
	if err != nil && conn != nil && conn.timedOut.Load() { // the library reports this as a wrong password
		return nil, fmt.Errorf("connect to broker: handshake timed out after %s", handshakeTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	return connection, nil
}

// brokerConn is a connection whose every write has a deadline: the library's
// calls take a context and ignore it, so a broker that stops reading would
// block them for ever.
type brokerConn struct {
	net.Conn
	release  func() bool // stops watching the context
	timedOut atomic.Bool
}

func (c *brokerConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.timedOut.Store(true)
	}
	return n, err
}

func (c *brokerConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(brokerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *brokerConn) Close() error {
	c.release()
	return c.Conn.Close()
}
