package web

import (
	"bufio"
	"bytes"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// logBuffer keeps what was logged.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start serves on a free port, with a limit of connections, until the test ends.
func start(t *testing.T, maxConnections int, handler http.HandlerFunc) (addr string, log *logBuffer) {
	t.Helper()
	log = &logBuffer{}
	server := NewServer(handler, maxConnections, slog.New(slog.NewJSONHandler(log, nil)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(LimitConnections(listener, maxConnections)) }()
	t.Cleanup(func() {
		server.Close()
		assert.ErrorIs(t, <-ended, http.ErrServerClosed)
	})
	return listener.Addr().String(), log
}

func TestServer(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"

	t.Run("keeps a connection for the next request", func(t *testing.T) {
		addr, _ := start(t, 2, func(http.ResponseWriter, *http.Request) {})
		conn := dial(t, addr)
		reader := bufio.NewReader(conn)
		for range 3 {
			write(t, conn, request)
			r, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			r.Body.Close()
			assert.False(t, r.Close)
		}
	})

	t.Run("closes idle connections when others wait", func(t *testing.T) {
		const limit = 4
		addr, _ := start(t, limit, func(http.ResponseWriter, *http.Request) {})
		for range 5 * limit { // each stays open, as far as its client is concerned
			conn := dial(t, addr)
			write(t, conn, request)
			status, _ := response(t, conn)
			assert.Equal(t, http.StatusOK, status)
		}
	})

	t.Run("has no more connections open than the limit", func(t *testing.T) {
		const limit = 3
		entered, release := make(chan struct{}, 3*limit), make(chan struct{})
		addr, _ := start(t, limit, func(http.ResponseWriter, *http.Request) {
			entered <- struct{}{}
			<-release
		})
		conns := make([]*net.TCPConn, 3*limit)
		for i := range conns {
			conns[i] = dial(t, addr)
			write(t, conns[i], request)
		}
		for range limit {
			<-entered
		}
		select {
		case <-entered:
			t.Fatal("one more than the limit")
		case <-time.After(100 * time.Millisecond):
		}
		close(release)
		for _, conn := range conns { // the others waited, and are served
			status, _ := response(t, conn)
			assert.Equal(t, http.StatusOK, status)
		}
	})

	t.Run("refuses a header that is too large, and does not keep it", func(t *testing.T) {
		addr, _ := start(t, 2, func(http.ResponseWriter, *http.Request) {})
		for size, expected := range map[int]int{
			maxHeaderBytes / 2: http.StatusOK, 2 * maxHeaderBytes: http.StatusRequestHeaderFieldsTooLarge, 1 << 20: http.StatusRequestHeaderFieldsTooLarge,
		} {
			for _, header := range []string{"X-Large: " + strings.Repeat("x", size), strings.Repeat("X: y\r\n", size/6) + "X: y"} {
				conn := dial(t, addr)
				_, _ = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", header) // the server may close before it is sent
				r, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil && size == 1<<20 {
					continue // it was reset before the client read what it says
				}
				require.NoError(t, err)
				r.Body.Close()
				assert.Equal(t, expected, r.StatusCode, size)
				conn.Close()
			}
		}
	})

	t.Run("logs net/http's own errors with the logger", func(t *testing.T) {
		addr, log := start(t, 2, func(http.ResponseWriter, *http.Request) { panic("a bug") })
		conn := dial(t, addr)
		write(t, conn, request)
		_, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.Error(t, err)
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "a bug") }, patience, 5*time.Millisecond)
		assert.Contains(t, log.String(), `"level":"WARN"`)
	})
}
