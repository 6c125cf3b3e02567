package commandsservice

import (
	"bufio"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// testConfig returns a configuration for a service on a free port. Nothing
// listens at the other addresses in it: the service has to live with that.
func testConfig(t *testing.T) Config {
	t.Helper()
	return Config{
		HTTPAddr:       "127.0.0.1:0",
		DatabaseURL:    "sqlite:" + filepath.Join(t.TempDir(), "commands.db"),
		RabbitMQURL:    "amqp://127.0.0.1:1/",
		Exchange:       "unused",
		Queue:          "unused",
		Prefetch:       10,
		RetryDelays:    []time.Duration{50 * time.Millisecond},
		GRPCTarget:     "127.0.0.1:1",
		RequestLimit:   100,
		MaxConnections: 100,

		DatabaseWait:         testkit.Patience,
		BackfillReadyTimeout: time.Millisecond,
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

// waitReady returns when the service says that it is ready.
func (s testService) waitReady(t *testing.T) {
	t.Helper()
	waitReadyz(t, s.URL, http.StatusOK, "")
}

func TestRun(t *testing.T) {
	t.Run("serves, and stops without leaving anything behind", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		service := startService(t, testConfig(t))
		service.waitReady(t)
		testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, "[]")
		service.Stop()
		assert.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))
		_, err := net.Dial("tcp", service.Addr)
		assert.Error(t, err)
	})

	t.Run("completes the request in flight before it stops", func(t *testing.T) {
		cfg := testConfig(t)
		service := startService(t, cfg)
		service.waitReady(t)
		conn, err := net.Dial("tcp", service.Addr)
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

		service.Stop()
		testkit.WaitRefused(t, service.Addr)
		_, err = io.WriteString(conn, body)
		require.NoError(t, err)
		_, err = reader.ReadString('\n') // the empty line after 100 Continue
		require.NoError(t, err)
		response, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Equal(t, http.StatusOK, response.StatusCode)
		assert.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))

		// And it is in the database: a service that starts on it has it.
		again := startService(t, cfg)
		again.waitReady(t)
		testkit.RequireJSON(t, testkit.Send(t, "GET", again.URL+"/api/c/platforms", ""), http.StatusOK, "["+body+"]")
	})

	testkit.TestServing(t, testkit.ServedRows{List: "/api/c/platforms", Create: "/api/c/platforms", Body: `{"id":4,"name":"x"}`, Created: http.StatusOK}, func(t *testing.T, limits testkit.Limits) (*testkit.Service, string) {
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
		require.ErrorContains(t, err, "COMMANDS_HTTP_ADDR")
		assert.ErrorContains(t, err, cfg.HTTPAddr)
	})

	t.Run("a database that cannot be opened is an error", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		for url, want := range map[string]string{
			"mysql://host/x": "COMMANDS_DATABASE_URL",
			"sqlite:" + filepath.Join(t.TempDir(), "missing", "x.db"): "open database",
		} {
			cfg := testConfig(t)
			cfg.DatabaseURL = url
			cfg.DatabaseWait = 10 * time.Millisecond
			log, _ := testkit.CaptureLog()
			assert.ErrorContains(t, Run(t.Context(), cfg, Parts{}, log), want)
		}
	})
}

// TestRunIsReadyAfterItsFirstBackfill: it serves meanwhile.
func TestRunIsReadyAfterItsFirstBackfill(t *testing.T) {
	proxy := testkit.NewProxy(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})))
	cfg := testConfig(t)
	cfg.GRPCTarget = proxy.Addr
	cfg.BackfillReadyTimeout = testkit.Patience
	service := startService(t, cfg)
	testkit.Eventually(t, "an attempt", func() bool { return len(service.Log.Lines("backfill failed")) > 0 })
	assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", service.URL+"/readyz", "").Status)
	testkit.Eventually(t, "a response", func() bool { return testkit.Send(t, "GET", service.URL+"/api/c/platforms", "").Status == http.StatusOK })

	proxy.Restore()
	service.waitReady(t)
	testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
}
