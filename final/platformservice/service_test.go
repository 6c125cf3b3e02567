package platformservice

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// testConfig returns a configuration for a service on free ports. Nothing
// listens at the other addresses in it: the service has to live with that.
func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{
		HTTPAddr:               "127.0.0.1:0",
		GRPCAddr:               "127.0.0.1:0",
		DatabaseURL:            "sqlite:" + filepath.Join(t.TempDir(), "platforms.db"),
		DatabaseWait:           testkit.Patience,
		CommandsServiceURL:     "http://127.0.0.1:1/",
		CommandsServiceTimeout: testkit.Patience,
		RabbitMQURL:            "amqp://127.0.0.1:1/",
		Exchange:               "unused",
		RequestLimit:           100,
		MaxConnections:         100,
	}
}

// testService is a service that a test runs.
type testService struct{ *testkit.Service }

// startService runs a service until the test ends, or Stop is called, and returns
// when it listens.
func startService(t *testing.T, cfg Config) testService {
	t.Helper()
	return testService{testkit.StartService(t, func(ctx context.Context, log *slog.Logger) error { return Run(ctx, cfg, Parts{}, log) })}
}

// waitReady returns when the service serves.
func (s testService) waitReady(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "a service that is ready", func() bool {
		return testkit.Send(t, "GET", s.URL+"/api/platforms", "").Status == http.StatusOK
	})
}

func TestRun(t *testing.T) {
	const body = `{"name":"x","publisher":"p","cost":"1"}`

	t.Run("serves, and stops without leaving anything behind", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		service := startService(t, testConfig(t))
		service.waitReady(t)
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", service.URL+"/api/platforms", body).Status)
		service.Stop()
		assert.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))
		_, err := net.Dial("tcp", service.Addr)
		assert.Error(t, err)
	})

	t.Run("begins with example data when configured to", func(t *testing.T) {
		cfg := testConfig(t)
		cfg.Seed = true
		service := startService(t, cfg)
		service.waitReady(t)
		assert.Contains(t, testkit.Send(t, "GET", service.URL+"/api/platforms", "").Body, "Kubernetes")
	})

	t.Run("completes the request in flight before it stops", func(t *testing.T) {
		cfg := testConfig(t)
		service := startService(t, cfg)
		service.waitReady(t)
		conn, err := net.Dial("tcp", service.Addr)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /api/platforms HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+
			"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
		require.NoError(t, err)
		reader := bufio.NewReader(conn)
		line, err := reader.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "100 Continue", "the service waits for the body")

		service.Stop()
		testkit.WaitRefused(t, service.Addr)
		_, err = io.WriteString(conn, body)
		require.NoError(t, err)
		_, err = reader.ReadString('\n') // the empty line after 100 Continue
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Equal(t, http.StatusCreated, response.StatusCode)
		assert.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))

		// And it is in the database: a service that starts on it has it.
		again := startService(t, cfg)
		again.waitReady(t)
		assert.Contains(t, testkit.Send(t, "GET", again.URL+"/api/platforms/1", "").Body, `"name":"x"`)
	})

	testkit.TestServing(t, testkit.ServedRows{List: "/api/platforms", Create: "/api/platforms", Body: body, Created: http.StatusCreated}, func(t *testing.T, limits testkit.Limits) (*testkit.Service, string) {
		cfg := testConfig(t)
		cfg.RequestLimit = cmp.Or(limits.Requests, cfg.RequestLimit)
		cfg.MaxConnections = cmp.Or(limits.Connections, cfg.MaxConnections)
		cfg.DrainTime = limits.Drain
		return startService(t, cfg).Service, strings.TrimPrefix(cfg.DatabaseURL, "sqlite:")
	})

	t.Run("stopped while it starts, it ends without an error", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		log, _ := testkit.CaptureLog()
		require.NoError(t, Run(ctx, testConfig(t), Parts{}, log))
	})

	t.Run("a taken port is an error that names the variable", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		cfg := testConfig(t)
		cfg.HTTPAddr = taken.Addr().String()
		log, _ := testkit.CaptureLog()
		err = Run(t.Context(), cfg, Parts{}, log)
		require.ErrorContains(t, err, "PLATFORMS_HTTP_ADDR")
		assert.ErrorContains(t, err, cfg.HTTPAddr)
	})

	t.Run("a database of an unknown kind is an error that names the variable", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.DatabaseURL = "mysql://host/db"
		log, _ := testkit.CaptureLog()
		require.ErrorContains(t, Run(t.Context(), cfg, Parts{}, log), "DATABASE_URL")
	})
}
