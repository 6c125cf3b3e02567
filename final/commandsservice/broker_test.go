package commandsservice

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
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
)

// testBroker is the test's own connection to a real broker, and an exchange that
// nothing else uses.
type testBroker struct {
	url      string
	exchange string
	channel  *amqp.Channel
}

// newTestBroker connects to the broker that RABBITMQ_URL names. The exchange is
// not declared yet; it is deleted when the test ends.
func newTestBroker(t *testing.T) *testBroker {
	t.Helper()
	b := &testBroker{url: os.Getenv("RABBITMQ_URL"), exchange: "test-" + rand.Text()}
	if b.url == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	connection, err := bus.Dial(context.Background(), b.url, tlsconfig.Files{}, bus.BrokerTimeout)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	b.channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, b.channel.Confirm(false))
	t.Cleanup(func() { assert.NoError(t, b.channel.ExchangeDelete(b.exchange, false, false)) })
	return b
}

// declare creates the exchange.
func (b *testBroker) declare(t *testing.T) {
	t.Helper()
	require.NoError(t, b.channel.ExchangeDeclare(b.exchange, "fanout", true, false, false, false, nil))
}

// publish sends a body to the exchange, and reports whether any queue got it.
func (b *testBroker) publish(t *testing.T, body string) bool {
	t.Helper()
	// The broker returns a mandatory message that no queue gets, and does so
	// before it confirms.
	returned := b.channel.NotifyReturn(make(chan amqp.Return, 1))
	confirmation, err := b.channel.PublishWithDeferredConfirm(b.exchange, "", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(body)})
	require.NoError(t, err)
	testkit.Receive(t, "the broker's confirmation", confirmation.Done())
	select {
	case <-returned:
		return false
	default:
		return true
	}
}

// tcpProxy stands between a client and a server, and can be cut.
type tcpProxy struct {
	addr     string
	target   string
	listener net.Listener
	running  sync.WaitGroup
	released chan struct{} // closed at the end

	mu      sync.Mutex
	down    bool
	holding bool // see hold
	conns   []net.Conn
}

// newTCPProxy starts a proxy to target, host:port. It is down: a client
// that connects is disconnected at once.
func newTCPProxy(t *testing.T, target string) *tcpProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tcpProxy{addr: listener.Addr().String(), target: target, listener: listener, released: make(chan struct{}), down: true}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
		close(p.released)
		p.cut()
		p.running.Wait()
	})
	return p
}

// newBrokerProxy starts a proxy to the broker at brokerURL, and returns the URL
// that leads through it.
func newBrokerProxy(t *testing.T, brokerURL string) (*tcpProxy, string) {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5672")
	}
	p := newTCPProxy(t, u.Host)
	u.Host = p.addr
	return p, u.String()
}

func (p *tcpProxy) accept() {
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
		p.running.Go(func() { defer server.Close(); _, _ = io.Copy(server, &holdable{client, p}) })
		p.running.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
	}
}

// hold does what a broker with an alarm does, from now on: it reads nothing more
// from a connection once that has published, and still sends heartbeats.
func (p *tcpProxy) hold() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.holding = true
}

// holdable is a client whose messages are read until it is held.
type holdable struct {
	net.Conn
	proxy *tcpProxy
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

// restore lets connections through.
func (p *tcpProxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

// cut breaks all connections and lets no new ones through.
func (p *tcpProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}
