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
)

// testBroker is the test's own connection to a real broker, and an exchange that
// nothing else uses.
type testBroker struct {
	url      string
	exchange string
	channel  *amqp.Channel
	returned <-chan amqp.Return // the message that no queue got
}

// newTestBroker connects to the broker that RABBITMQ_URL names. The exchange is
// not declared yet; it is deleted when the test ends.
func newTestBroker(t *testing.T) *testBroker {
	t.Helper()
	b := &testBroker{url: os.Getenv("RABBITMQ_URL"), exchange: "test-" + rand.Text()}
	if b.url == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	connection, err := dialBroker(context.Background(), b.url)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	b.channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, b.channel.Confirm(false))
	b.returned = b.channel.NotifyReturn(make(chan amqp.Return, 1))
	t.Cleanup(func() { assert.NoError(t, b.channel.ExchangeDelete(b.exchange, false, false)) })
	return b
}

// declare creates the exchange as the .NET services do.
func (b *testBroker) declare(t *testing.T) {
	t.Helper()
	require.NoError(t, b.channel.ExchangeDeclare(b.exchange, "fanout", false, false, false, false, nil))
}

// publish sends a body to the exchange, and reports whether any queue got it.
func (b *testBroker) publish(t *testing.T, body string) bool {
	t.Helper()
	// The broker returns a mandatory message that no queue gets, and does so
	// before it confirms.
	confirmation, err := b.channel.PublishWithDeferredConfirm(b.exchange, "", true, false,
		amqp.Publishing{ContentType: "application/json", Body: []byte(body)})
	require.NoError(t, err)
	receive(t, "the broker's confirmation", confirmation.Done())
	select {
	case <-b.returned:
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

	mu    sync.Mutex
	down  bool
	conns []net.Conn
	sent  bytes.Buffer // what the clients sent
}

// newTCPProxy starts a proxy to target, host:port. It is down: a client
// that connects is disconnected at once.
func newTCPProxy(t *testing.T, target string) *tcpProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tcpProxy{addr: listener.Addr().String(), target: target, listener: listener, down: true}
	p.running.Go(p.accept)
	t.Cleanup(func() {
		p.listener.Close()
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
		p.running.Go(func() { defer server.Close(); _, _ = io.Copy(io.MultiWriter(p, server), client) })
		p.running.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
	}
}

// Write keeps what a client sent, before the server gets it.
func (p *tcpProxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.Write(b)
}

// recorded returns what the clients sent so far.
func (p *tcpProxy) recorded() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent.String()
}

// say sends bytes to the client that connected last, as if from the server.
func (p *tcpProxy) say(t *testing.T, bytes string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.conns[len(p.conns)-2], bytes)
	require.NoError(t, err)
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
