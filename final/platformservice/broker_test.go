package platformservice

import (
	"context"
	"crypto/rand"
	"encoding/binary"
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

// TestDial: what the error says is what happened.
func TestDial(t *testing.T) {
	t.Run("a broker that says nothing has timed out", func(t *testing.T) {
		silent, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer silent.Close()
		_, err = bus.Dial(t.Context(), "amqp://"+silent.Addr().String()+"/", tlsconfig.Files{}, bus.BrokerTimeout)
		require.ErrorContains(t, err, "timed out")
		assert.NotContains(t, err.Error(), "password")
	})

	t.Run("a broker that stalls in the handshake has timed out", func(t *testing.T) {
		_, err := bus.Dial(t.Context(), stallingBroker(t, newTestBroker(t).url), tlsconfig.Files{}, bus.BrokerTimeout)
		require.ErrorContains(t, err, "timed out")
		assert.NotContains(t, err.Error(), "password")
	})

	t.Run("a wrong password is named", func(t *testing.T) {
		broker := newTestBroker(t)
		u, err := url.Parse(broker.url)
		require.NoError(t, err)
		u.User = url.UserPassword("unknown", "s3cret")
		_, err = bus.Dial(t.Context(), u.String(), tlsconfig.Files{}, bus.BrokerTimeout)
		require.ErrorContains(t, err, "403")
		assert.NotContains(t, err.Error(), "s3cret")
	})
}

// stallingBroker returns the URL of a broker that sends its first frame as the
// one at brokerURL does, reads the credentials, and then says nothing more.
func stallingBroker(t *testing.T, brokerURL string) string {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	broker, err := net.Dial("tcp", u.Host)
	require.NoError(t, err)
	t.Cleanup(func() { broker.Close() })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan struct{})
	go func() {
		defer close(served)
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		_, _ = io.CopyN(broker, client, int64(len("AMQP0091")))
		header := make([]byte, 7) // type, channel (2), size (4)
		_, _ = io.ReadFull(broker, header)
		_, _ = client.Write(header)
		_, _ = io.CopyN(client, broker, int64(binary.BigEndian.Uint32(header[3:]))+1)
		_, _ = io.Copy(io.Discard, client)
	}()
	t.Cleanup(func() {
		listener.Close()
		testkit.Receive(t, "the end of the stalling broker", served)
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// tcpProxy stands between a client and a server, and can be cut.
type tcpProxy struct {
	addr     string
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu      sync.Mutex
	changed *sync.Cond // of down or stalled
	down    bool
	stalled bool
	conns   []net.Conn
}

// newTCPProxy starts a proxy to target, host:port. It is down: a client
// that connects is disconnected at once.
func newTCPProxy(t *testing.T, target string) *tcpProxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &tcpProxy{addr: listener.Addr().String(), target: target, listener: listener, down: true}
	p.changed = sync.NewCond(&p.mu)
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
		p.running.Go(func() { defer server.Close(); _, _ = io.Copy(io.MultiWriter(server, p), client) })
		p.running.Go(func() { defer client.Close(); _, _ = io.Copy(client, server) })
	}
}

// Write drops b. While the proxy is stalled it does not return.
func (p *tcpProxy) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stalled && !p.down {
		p.changed.Wait()
	}
	return len(b), nil
}

// stall reads nothing more from the clients, until cut.
func (p *tcpProxy) stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// say sends text to the client that connected last, as if from the server.
func (p *tcpProxy) say(t *testing.T, text string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(p.conns[len(p.conns)-2], text)
	require.NoError(t, err)
}

// restore lets connections through.
func (p *tcpProxy) restore() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.stalled = false, false
}

// cut breaks all connections and lets no new ones through.
func (p *tcpProxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	p.changed.Broadcast()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}
