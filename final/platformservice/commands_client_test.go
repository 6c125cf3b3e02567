package platformservice

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// commandsAPI returns the REST API with a client of the CommandsService at url.
func commandsAPI(t testing.TB, url string, timeout time.Duration, log *slog.Logger) *restAPI {
	t.Helper()
	return &restAPI{store: memoryStore(t), commands: testCommandsClient(t, url, timeout), slots: web.NewSlots(100), log: log}
}

// requireCreated posts a platform and checks that it was created.
func requireCreated(t testing.TB, api *restAPI) {
	t.Helper()
	a := testkit.Send(t, "POST", testkit.Serve(t, api.handler())+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
	require.Equal(t, http.StatusCreated, a.Status, a.Body)
	require.Equal(t, `{"id":1,"name":"x","publisher":"p","cost":"1"}`+"\n", a.Body)
	_, err := api.store.platform(t.Context(), 1)
	require.NoError(t, err)
}

func TestCommandsServiceIsNotified(t *testing.T) {
	received := make(chan string, 2)
	commands := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body)
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
	log, logged := testkit.CaptureLog()
	api := commandsAPI(t, commands+"/api/c/platforms", testkit.Patience, log)
	requireCreated(t, api)

	assert.Equal(t, `POST /api/c/platforms application/json {"id":1,"name":"x","publisher":"p","cost":"1"}`,
		testkit.Receive(t, "the platform at CommandsService", received))
	assert.Len(t, logged.Lines(`msg="CommandsService notified" id=1`), 1)

	testkit.RequireProblem(t, testkit.Send(t, "POST", testkit.Serve(t, api.handler())+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost")
	assert.Empty(t, received, "only what was created is sent")
}

func TestErrorOfCommandsServiceDoesNotShowItsURL(t *testing.T) {
	client := testCommandsClient(t, "http://u:s3cret@127.0.0.1:1/s3cret?token=s3cret", testkit.Patience)
	defer client.close()
	err := client.sendPlatform(t.Context(), platform{ID: 1, Name: "x", Publisher: "p", Cost: "1"})
	require.ErrorContains(t, err, "send platform: ")
	assert.NotContains(t, err.Error(), "s3cret")
}

func TestCommandsServiceGetsTheTrace(t *testing.T) {
	received := make(chan string, 1)
	commands := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		received <- r.Header.Get("traceparent")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	recorder := tracetest.NewSpanRecorder()
	client := testCommandsClient(t, commands, testkit.Patience)
	client.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	require.Error(t, client.sendPlatform(trace.ContextWithSpanContext(t.Context(), post()), platform{ID: 1}))
	require.Len(t, recorder.Ended(), 1)
	span := recorder.Ended()[0]
	assert.Equal(t, post().SpanID(), span.Parent().SpanID())
	assert.Equal(t, trace.SpanKindClient, span.SpanKind())
	assert.Equal(t, codes.Error, span.Status().Code)
	assert.Equal(t, "00-"+post().TraceID().String()+"-"+span.SpanContext().SpanID().String()+"-01", testkit.Receive(t, "the request", received))
}

// TestCommandsServiceIsNotNotified: however CommandsService fails, the platform
// is created, and the log says what happened.
func TestCommandsServiceIsNotNotified(t *testing.T) {
	for _, row := range []struct {
		what    string
		timeout time.Duration
		respond func(w http.ResponseWriter, r *http.Request, end <-chan struct{})
		logs    string
	}{
		{"it does not respond", 20 * time.Millisecond,
			func(_ http.ResponseWriter, _ *http.Request, end <-chan struct{}) { <-end }, "exceeded"},
		{"it does not finish its response", 20 * time.Millisecond,
			func(w http.ResponseWriter, _ *http.Request, end <-chan struct{}) {
				_, _ = io.WriteString(w, "{")
				w.(http.Flusher).Flush()
				<-end
			}, "exceeded"},
		{"it returns 500", testkit.Patience,
			func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { http.Error(w, "out of memory", 500) },
			"500 Internal Server Error: out of memory"},
		{"it returns 400", testkit.Patience,
			func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { http.Error(w, "", 400) }, "400 Bad Request"},
		{"it hangs up", testkit.Patience,
			func(http.ResponseWriter, *http.Request, <-chan struct{}) { panic(http.ErrAbortHandler) }, "EOF"},
		// To follow one would be to GET, and to take the 200 for success.
		{"it redirects", testkit.Patience,
			func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
				if r.URL.Path != "/elsewhere" {
					http.Redirect(w, r, "/elsewhere", http.StatusFound)
				}
			}, "302 Found"},
	} {
		t.Run("because "+row.what, func(t *testing.T) {
			end := make(chan struct{})
			commands := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { row.respond(w, r, end) }))
			t.Cleanup(func() { close(end) }) // before the server is closed, which waits for its handlers
			log, logged := testkit.CaptureLog()
			requireCreated(t, commandsAPI(t, commands, row.timeout, log))
			lines := logged.Lines(`level=WARN msg="CommandsService not notified" id=1`)
			require.Len(t, lines, 1)
			assert.Contains(t, lines[0], row.logs)
			assert.Empty(t, logged.Lines("CommandsService notified"))
		})
	}

	t.Run("because it is down", func(t *testing.T) {
		down := httptest.NewServer(nil)
		down.Close()
		log, logged := testkit.CaptureLog()
		requireCreated(t, commandsAPI(t, down.URL, testkit.Patience, log))
		assert.Len(t, logged.Lines(`level=WARN msg="CommandsService not notified" id=1`), 1)
	})
}

// TestCommandsServiceIsNotifiedThoughTheClientHasGone: once the platform is
// stored, CommandsService is notified too.
func TestCommandsServiceIsNotifiedThoughTheClientHasGone(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	commands := testkit.Serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hangUp() }))
	log, logged := testkit.CaptureLog()
	api := commandsAPI(t, commands, testkit.Patience, log)
	request := httptest.NewRequestWithContext(ctx, "POST", "/api/platforms",
		strings.NewReader(`{"name":"x","publisher":"p","cost":"1"}`))
	request.Header.Set("Content-Type", "application/json")
	api.handler().ServeHTTP(httptest.NewRecorder(), request)
	assert.Len(t, logged.Lines("CommandsService notified"), 1)
}

func TestCommandsClientIgnoresTheEnvironmentsProxy(t *testing.T) {
	transport := testCommandsClient(t, "http://commands.example/", testkit.Patience).http.Transport.(*http.Transport)
	assert.Nil(t, transport.Proxy)
}

// testCommandsClient returns a client without TLS and traces.
func testCommandsClient(t testing.TB, url string, timeout time.Duration) *commandsClient {
	t.Helper()
	client, err := newCommandsClient(url, timeout, tlsconfig.Files{}, noop.NewTracerProvider().Tracer(""))
	require.NoError(t, err)
	return client
}
