package testkit

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Service is a service that a test runs.
type Service struct {
	Addr    string // of its HTTP server
	URL     string // the same as a URL
	Log     *LogCapture
	Stop    context.CancelFunc
	Stopped chan error // gets what run returned
}

// StartService runs a service until the test ends, or Stop is called, and returns
// when it listens.
func StartService(t *testing.T, run func(context.Context, *slog.Logger) error) *Service {
	t.Helper()
	log, logged := CaptureLog()
	ctx, cancel := context.WithCancel(context.Background())
	s := &Service{Log: logged, Stop: cancel, Stopped: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Stopped <- run(ctx, log)
	}()
	t.Cleanup(func() {
		cancel()
		Receive(t, "the end of the service", ended)
	})
	s.Addr = s.LoggedAddr(t, "listening for HTTP")
	s.URL = "http://" + s.Addr
	return s
}

// LoggedAddr returns the address in the line of the log that has message.
func (s *Service) LoggedAddr(t *testing.T, message string) string {
	t.Helper()
	Eventually(t, message, func() bool { return len(s.Log.Lines(message)) == 1 })
	_, addr, found := strings.Cut(s.Log.Lines(message)[0], "addr=")
	require.True(t, found)
	return addr
}

// waitServes returns when the service is ready, and responds to a GET of path with
// a 200.
func (s *Service) waitServes(t *testing.T, path string) {
	t.Helper()
	Eventually(t, "a service that serves", func() bool {
		return Send(t, "GET", s.URL+"/readyz", "").Status == http.StatusOK && Send(t, "GET", s.URL+path, "").Status == http.StatusOK
	})
}

// Limits are settings of a service that a test needs. Where one is zero, the
// service has that of other tests.
type Limits struct {
	Requests, Connections int
	Drain                 time.Duration
}

// ServedRows are those that a service lists at one path, and creates at another.
type ServedRows struct {
	List, Create, Body string
	Created            int // the status of a POST of Body to Create
}

// TestServing tests that a service keeps its limits, and what it says of itself.
// start runs one, without a broker, on a SQLite file that it returns.
func TestServing(t *testing.T, rows ServedRows, start func(*testing.T, Limits) (service *Service, database string)) {
	t.Run("with all the requests that it may have, it refuses more, and is alive and ready", func(t *testing.T) {
		service, database := start(t, Limits{Requests: 1})
		service.waitServes(t, rows.List)
		db, err := sql.Open("sqlite3", "file:"+database+"?_txlock=immediate&_busy_timeout=5000")
		require.NoError(t, err)
		defer db.Close()
		lock, err := db.BeginTx(t.Context(), nil) // writers wait for it
		require.NoError(t, err)
		first := make(chan Response, 1)
		go func() {
			r := Send(t, "POST", service.URL+rows.Create, rows.Body)
			for r.Status == http.StatusServiceUnavailable { // one of the requests below had the slot
				r = Send(t, "POST", service.URL+rows.Create, rows.Body)
			}
			first <- r
		}()

		var refused Response
		Eventually(t, "a request in flight", func() bool {
			refused = Send(t, "GET", service.URL+rows.List, "")
			return refused.Status != http.StatusOK
		})
		RequireProblem(t, refused, http.StatusServiceUnavailable)
		assert.Equal(t, "1", refused.Header.Get("Retry-After"))
		assert.Equal(t, http.StatusOK, Send(t, "GET", service.URL+"/livez", "").Status)
		Eventually(t, "a service that is ready", func() bool { return Send(t, "GET", service.URL+"/readyz", "").Status == http.StatusOK })
		require.NoError(t, lock.Rollback())
		assert.Equal(t, rows.Created, Receive(t, "the first response", first).Status)
		service.waitServes(t, rows.List)
	})

	t.Run("with all the connections that it may have, it serves the next", func(t *testing.T) {
		const limit = 4
		service, _ := start(t, Limits{Connections: limit})
		service.waitServes(t, rows.List)
		for range 5 * limit { // each stays open, as far as its client is concerned
			conn := Dial(t, service.URL)
			conn.Send(t, "GET "+rows.List+" HTTP/1.1\r\nHost: x\r\n\r\n")
			assert.Equal(t, http.StatusOK, conn.Response(t).Status)
		}
	})

	t.Run("refuses headers that are too large", func(t *testing.T) {
		service, _ := start(t, Limits{})
		service.waitServes(t, rows.List)
		for size, status := range map[int]int{
			8 << 10:  http.StatusOK,
			64 << 10: http.StatusRequestHeaderFieldsTooLarge,
		} {
			r := Send(t, "GET", service.URL+rows.List, "", "X-Large", strings.Repeat("x", size))
			assert.Equal(t, status, r.Status)
		}
	})

	t.Run("while it drains, it says that it stops and handles requests", func(t *testing.T) {
		service, _ := start(t, Limits{Drain: Patience / 2})
		service.waitServes(t, rows.List)
		service.Stop()
		Eventually(t, "a probe that reports it", func() bool {
			ready := Send(t, "GET", service.URL+"/readyz", "")
			return ready.Status == http.StatusServiceUnavailable && strings.Contains(ready.Body, `"status":"stopping"`)
		})
		assert.Equal(t, http.StatusOK, Send(t, "GET", service.URL+rows.List, "").Status)
		assert.NoError(t, Receive(t, "the end of Run", service.Stopped))
	})

	t.Run("without a broker it is ready, and reports the broker as down", func(t *testing.T) {
		service, _ := start(t, Limits{})
		service.waitServes(t, rows.List)
		assert.Contains(t, Send(t, "GET", service.URL+"/readyz", "").Body, `"broker":{"status":"failing"`)
	})
}
