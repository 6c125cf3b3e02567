package bus

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"strings"
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

// Headers that say what became of a message that could not be handled.
const (
	ErrorHeader    = "x-error"    // why it is with the dead letters
	AttemptsHeader = "x-attempts" // how often it was handled, and delivered again later
)

// DeadQueue returns the name of the queue that holds the dead letters of queue.
func DeadQueue(queue string) string { return queue + ".dead" }

// DeclareExchange creates the durable fanout exchange if it does not exist.
// Whoever starts first does it, with the same arguments: the broker refuses others.
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

// Resend returns the message of a delivery for being published again: as it
// was, without the headers that say what became of it, and with those in added.
func Resend(d amqp.Delivery, added amqp.Table) amqp.Publishing {
	headers := maps.Clone(d.Headers)
	maps.DeleteFunc(headers, func(name string, _ any) bool {
		return name == ErrorHeader || name == AttemptsHeader || name == "x-delivery-count" || name == "x-death" ||
			strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
	})
	if headers == nil {
		headers = amqp.Table{}
	}
	maps.Copy(headers, added)
	return amqp.Publishing{ // but Expiration and UserId, which bind the publisher
		Headers:         headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

// TLSFromEnv reads RABBITMQ_TLS_CA_FILE, who signs the broker's certificate, and
// RABBITMQ_TLS_CERT_FILE and RABBITMQ_TLS_KEY_FILE, for a broker that asks for a
// certificate. They need an amqps url: who sets them does not mean plain text.
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
// linger left, in which to finish and close. A broker that stops responding is
// detected by its missing heartbeats, after some 15 seconds.
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
			// For the handshake. The library clears the deadline afterwards.
			if err := tcp.SetDeadline(time.Now().Add(handshakeTimeout)); err != nil {
				return nil, err
			}
			conn = &brokerConn{Conn: tcp}
			conn.release = context.AfterFunc(ctx, func() { _ = tcp.SetDeadline(time.Now().Add(linger)) })
			return conn, nil
		},
	})
	if err != nil && conn != nil && conn.timedOut.Load() { // the library would say "password not allowed"
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
	release  func() bool // forgets the context
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
	if err := c.SetWriteDeadline(time.Now().Add(BrokerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *brokerConn) Close() error {
	c.release()
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
