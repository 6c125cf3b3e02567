package commandsservice

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testConfig returns a configuration for a service on a free port. Nothing
// listens at the other addresses in it: the service has to live with that.
func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{
		HTTPAddr:    "127.0.0.1:0",
		DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "commands.db"),
		RabbitMQURL: "amqp://127.0.0.1:1/",
		Exchange:    "unused",
		GRPCTarget:  "127.0.0.1:1",
	}
}

// testService is a service that a test runs.
type testService struct {
	addr    string // of its HTTP server
	url     string // the same as a URL
	log     *logCapture
	stop    context.CancelFunc
	stopped chan error // gets what Run returned
}

// startService runs a service until the test ends, or stop is called, and
// returns when it listens.
func startService(t *testing.T, cfg Config) *testService {
	t.Helper()
	log, logged := captureLog()
	ctx, cancel := context.WithCancel(context.Background())
	s := &testService{log: logged, stop: cancel, stopped: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.stopped <- Run(ctx, cfg, log)
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, "the end of Run", ended)
	})
	s.addr = s.loggedAddr(t, "listening for HTTP")
	s.url = "http://" + s.addr
	return s
}

// loggedAddr returns the address in the line of the log that has message.
func (s *testService) loggedAddr(t *testing.T, message string) string {
	t.Helper()
	eventually(t, message, func() bool { return len(s.log.lines(message)) == 1 })
	_, addr, found := strings.Cut(s.log.lines(message)[0], "addr=")
	require.True(t, found)
	return addr
}

// waitReady returns when the service serves.
func (s *testService) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, "a service that is ready", func() bool {
		return send(t, "GET", s.url+"/api/c/platforms", "").status == http.StatusOK
	})
}

func TestRun(t *testing.T) {
	t.Run("serves, and stops without leaving anything behind", func(t *testing.T) {
		noGoroutineLeft(t)
		service := startService(t, testConfig(t))
		service.waitReady(t)
		requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, "[]")
		service.stop()
		assert.NoError(t, receive(t, "the end of Run", service.stopped))
		_, err := net.Dial("tcp", service.addr)
		assert.Error(t, err)
	})

	t.Run("completes the request in flight before it stops", func(t *testing.T) {
		cfg := testConfig(t)
		service := startService(t, cfg)
		service.waitReady(t)
		conn, err := net.Dial("tcp", service.addr)
		require.NoError(t, err)
		defer conn.Close()
		const body = `{"id":4,"name":"x"}`
		_, err = io.WriteString(conn, "POST /api/c/platforms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Content-Length: 19\r\nExpect: 100-continue\r\n\r\n")
		require.NoError(t, err)
		reader := bufio.NewReader(conn)
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue", "the service waits for the body")

		service.stop()
		waitRefused(t, service.addr)
		_, err = io.WriteString(conn, body)
		require.NoError(t, err)
		_, err = reader.ReadString('\n') // the empty line after 100 Continue
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.NoError(t, receive(t, "the end of Run", service.stopped))

		// And it is in the database: a service that starts on it has it.
		again := startService(t, cfg)
		again.waitReady(t)
		requireJSON(t, send(t, "GET", again.url+"/api/c/platforms", ""), http.StatusOK, "["+body+"]")
	})

	t.Run("refuses headers that are too large", func(t *testing.T) {
		service := startService(t, testConfig(t))
		service.waitReady(t)
		for size, status := range map[int]int{
			8 << 10:  http.StatusOK,
			64 << 10: http.StatusRequestHeaderFieldsTooLarge,
		} {
			r := send(t, "GET", service.url+"/api/c/platforms", "", "X-Large", strings.Repeat("x", size))
			assert.Equal(t, status, r.status)
		}
	})

	t.Run("stopped while it starts, it ends without an error", func(t *testing.T) {
		noGoroutineLeft(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		log, _ := captureLog()
		require.NoError(t, Run(ctx, testConfig(t), log))
	})

	t.Run("a taken port is an error that names the variable", func(t *testing.T) {
		noGoroutineLeft(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		cfg := testConfig(t)
		cfg.HTTPAddr = taken.Addr().String()
		log, _ := captureLog()
		err = Run(t.Context(), cfg, log)
		require.ErrorContains(t, err, "COMMANDS_HTTP_ADDR")
		assert.ErrorContains(t, err, cfg.HTTPAddr)
	})

	t.Run("a database that cannot be opened is an error", func(t *testing.T) {
		noGoroutineLeft(t)
		for url, want := range map[string]string{
			"mysql://host/x": "COMMANDS_DATABASE_URL",
			"sqlite:" + filepath.Join(t.TempDir(), "missing", "x.db"): "open database",
		} {
			cfg := testConfig(t)
			cfg.DatabaseURL = url
			log, _ := captureLog()
			assert.ErrorContains(t, Run(t.Context(), cfg, log), want)
		}
	})
}
