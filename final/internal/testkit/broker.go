package testkit

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

// Broker is the test's own connection to a real broker, and an exchange that
// nothing else uses.
type Broker struct {
	URL      string
	Exchange string
	Channel  *amqp.Channel
	returned chan amqp.Return // messages of Publish that no queue got
}

// NewBroker connects to the broker that RABBITMQ_URL names. The exchange is
// not declared yet; it is deleted when the test ends.
func NewBroker(t *testing.T) *Broker {
	t.Helper()
	b := &Broker{URL: os.Getenv("RABBITMQ_URL"), Exchange: "test-" + rand.Text()}
	if b.URL == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	connection, err := bus.Dial(context.Background(), b.URL, tlsconfig.Files{}, bus.BrokerTimeout)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	b.Channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, b.Channel.Confirm(false))
	b.returned = b.Channel.NotifyReturn(make(chan amqp.Return, 1))
	t.Cleanup(func() { assert.NoError(t, b.Channel.ExchangeDelete(b.Exchange, false, false)) })
	return b
}

// Declare creates the exchange.
func (b *Broker) Declare(t *testing.T) {
	t.Helper()
	require.NoError(t, b.Channel.ExchangeDeclare(b.Exchange, "fanout", true, false, false, false, nil))
}

// Publish sends a body to the exchange, and reports whether any queue got it.
func (b *Broker) Publish(t *testing.T, body string) bool {
	t.Helper()
	// The broker returns a mandatory message that no queue gets, and does so
	// before it confirms.
	confirmation, err := b.Channel.PublishWithDeferredConfirm(b.Exchange, "", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(body)})
	require.NoError(t, err)
	Receive(t, "the broker's confirmation", confirmation.Done())
	select {
	case <-b.returned:
		return false
	default:
		return true
	}
}

// Proxy stands between a client and a server, and can be cut.
type Proxy struct {
	Addr     string // host:port
	target   string
	listener net.Listener
	running  sync.WaitGroup
	released chan struct{} // closed at the end

	mu      sync.Mutex
	changed *sync.Cond // of down or stalled
	down    bool
	stalled bool // see Stall
	holding bool // see Hold
	conns   []net.Conn
}

// NewProxy starts a proxy to target, host:port. It is down: a client
// that connects is disconnected at once.
func NewProxy(t *testing.T, target string) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{Addr: listener.Addr().String(), target: target, listener: listener, released: make(chan struct{}), down: true}
	p.changed = sync.NewCond(&p.mu)
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		close(p.released)
		p.Cut()
		p.running.Wait()
	})
	return p
}

// NewBrokerProxy starts a proxy to the broker at brokerURL, and returns the URL
// that leads through it.
func NewBrokerProxy(t *testing.T, brokerURL string) (*Proxy, string) {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5672")
	}
	p := NewProxy(t, u.Host)
	u.Host = p.Addr
	return p, u.String()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, client, server)
		down = p.down // it may have been cut since
		p.mu.Unlock()
		if down {
			client.Close()
			server.Close()
			continue
		}
		p.running.Go(func() { defer server.Close(); _, _ = io.Copy(io.MultiWriter(server, p), &holdable{client, p}) })
		p.running.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
	}
}

// Hold does what a broker with an alarm does, from now on: it reads nothing more
// from a connection once that has published, and still sends heartbeats.
func (p *Proxy) Hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = true
}

// holdable is a client whose messages are read until it is held.
type holdable struct {
	net.Conn
	proxy *Proxy
}

func (h *holdable) Read(b []byte) (int, error) {
	n, err := h.Conn.Read(b)
	h.proxy.mu.Lock()
	held := h.proxy.holding && bytes.Contains(b[:n], []byte("\x00\x3c\x00\x28")) // class 60, method 40: basic.publish
	h.proxy.mu.Unlock()
	if !held {
		return n, err
	}
	<-h.proxy.released
	return 0, io.EOF
}

// Write drops b. While the proxy is stalled it does not return.
func (p *Proxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && !p.down {
		p.changed.Wait()
	}
	return len(b), nil
}

// Stall reads nothing more from the clients, until Cut.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// Say sends text to the client that connected last, as if from the server.
func (p *Proxy) Say(t *testing.T, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.conns[len(p.conns)-2], text)
	require.NoError(t, err)
}

// Restore lets connections through.
func (p *Proxy) Restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.stalled = false, false
}

// Cut breaks all connections and lets no new ones through.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
	p.changed.Broadcast()
}
