package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/tlsconfig"
)

// BrokerTimeout bounds each step of a connection to the broker but the
// handshake: connect, write, close. RabbitMQ takes 3 seconds to refuse a wrong
// password, on purpose.
const (
	BrokerTimeout    = 3 * time.Second
	handshakeTimeout = 5 * time.Second
)

// DeadQueue returns the name of the queue that holds the dead letters of queue.
func DeadQueue(queue string) string { return queue + ".dead" }

// DeclareExchange creates the durable fanout exchange if it does not exist.
// The service that starts first does it, with the same arguments: the broker refuses others.
func DeclareExchange(channel *amqp.Channel, name string) error {
	const durable, autoDelete, internal, noWait = true, false, false, false
	err := channel.ExchangeDeclare(name, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil)
	return Explain(err, "declare exchange "+name, "choose another name (RABBITMQ_EXCHANGE) or delete that exchange")
}

// Explain wraps what the broker says about a declaration. When something of
// that name exists with other arguments, the error says what to do.
func Explain(err error, doing, advice string) error {
	var refused *amqp.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Code == amqp.PreconditionFailed:
		return fmt.Errorf("%s: it exists with other arguments: %s: %w", doing, advice, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// TLSFromEnv reads RABBITMQ_TLS_CA_FILE, who signs the broker's certificate, and
// RABBITMQ_TLS_CERT_FILE and RABBITMQ_TLS_KEY_FILE, for a broker that asks for a
// certificate. Set for any other url than amqps, they are an error: a connection in plain
// text would ignore them.
func TLSFromEnv(lookup func(string) (string, bool), url string) (tlsconfig.Files, error) {
	var files tlsconfig.Files
	files.CA, _ = lookup("RABBITMQ_TLS_CA_FILE")
	files.Cert, _ = lookup("RABBITMQ_TLS_CERT_FILE")
	files.Key, _ = lookup("RABBITMQ_TLS_KEY_FILE")
	if _, err := clientTLS(url, files); err != nil {
		return files, fmt.Errorf("RABBITMQ_TLS_CA_FILE, RABBITMQ_TLS_CERT_FILE, RABBITMQ_TLS_KEY_FILE: %w", err)
	}
	return files, nil
}

// clientTLS returns nil without files. For an amqps url the library then trusts
// the system's CAs.
func clientTLS(url string, files tlsconfig.Files) (*tls.Config, error) {
	if files == (tlsconfig.Files{}) {
		return nil, nil
	}
	if parsed, err := amqp.ParseURI(url); err != nil || parsed.Scheme != "amqps" {
		return nil, errors.New("RABBITMQ_URL is not an amqps URL")
	}
	return files.Client()
}

// Dial connects to url, with files for TLS. When ctx ends, the connection has
// linger left, in which to finish and close, and is then cut. A broker that stops
// responding is detected by its missing heartbeats, after some 15 seconds. The caller
// must call Close to end the connection.
func Dial(ctx context.Context, url string, files tlsconfig.Files, linger time.Duration) (*amqp.Connection, error) {
	security, err := clientTLS(url, files)
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	var conn *brokerConn
	connection, err := amqp.DialConfig(url, amqp.Config{
		Locale:          "en_US",
		TLSClientConfig: security,
		Dial: func(network, address string) (net.Conn, error) {
			tcp, err := (&net.Dialer{Timeout: BrokerTimeout}).DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			conn = &brokerConn{Conn: tcp}
			conn.release = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now().Add(linger)) })
			return conn, conn.SetDeadline(time.Now().Add(handshakeTimeout)) // the library clears it afterwards
		},
	})
	if err != nil && conn != nil && conn.timedOut.Load() { // the library would say "password not allowed"
		return nil, fmt.Errorf("connect to broker: handshake timed out after %s", handshakeTimeout)
	}
	if err != nil {
		return nil, fmt.Errorf("connect to broker: %w", err)
	}
	if ctx.Err() != nil { // the library may have cleared the deadline that this set
		_ = conn.SetDeadline(time.Now().Add(linger))
	}
	return connection, nil
}

// Close ends a connection within BrokerTimeout. Unlike the library's own Close, it
// does not wait for a broker that has stopped reading, as one with an alarm has.
func Close(connection *amqp.Connection) {
	_ = connection.CloseDeadline(time.Now().Add(BrokerTimeout))
}

// Lost returns why a channel or connection has ended, from its NotifyClose, and
// nil while it is open. Call it once after the end.
func Lost(closed <-chan *amqp.Error) error {
	select {
	case err := <-closed:
		return LostBy(err)
	default:
		return nil
	}
}

// LostBy returns why a channel or connection has ended, from what its NotifyClose
// passed: nil when it passed nothing and was closed, because this side ended it.
func LostBy(err *amqp.Error) error {
	if err == nil {
		return errors.New("connection closed")
	}
	return fmt.Errorf("connection lost: %w", err)
}

// brokerConn is a connection whose deadlines hold. The library's calls take a
// context and ignore it, so every write has a deadline: a broker that stops
// reading would block them indefinitely. And the library moves the deadline for
// reading with every frame, so a deadline for both cuts the connection.
type brokerConn struct {
	net.Conn
	release  func() bool // forgets the context
	timedOut atomic.Bool

	mu  sync.Mutex
	cut *time.Timer // closes the connection at its deadline
}

// SetDeadline closes the connection at t, or never when t is zero.
func (c *brokerConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cut != nil {
		c.cut.Stop()
		c.cut = nil
	}
	if !t.IsZero() {
		c.cut = time.AfterFunc(time.Until(t), func() {
			c.timedOut.Store(true)
			_ = c.Conn.Close()
		})
	}
	return nil
}

func (c *brokerConn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(BrokerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *brokerConn) Close() error {
	c.release()
	_ = c.SetDeadline(time.Time{})
	return c.Conn.Close()
}

// RegisterConnected registers the metric broker_connected.
func RegisterConnected(registry prometheus.Registerer, connected func() bool) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "broker_connected", Help: "1 while there is a connection to the broker, else 0."}, func() float64 {
		if connected() {
			return 1
		}
		return 0
	}))
}
