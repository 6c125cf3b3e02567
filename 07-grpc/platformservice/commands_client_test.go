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
)

// commandsAPI returns the REST API with a client of the CommandsService at url.
func commandsAPI(t testing.TB, url string, timeout time.Duration, log *slog.Logger) *restAPI {
	t.Helper()
	api := newAPI(memoryStore(t), log)
	api.commands = newCommandsClient(url, timeout)
	return api
}

// requireCreated posts a platform and checks that it was created.
func requireCreated(t testing.TB, api *restAPI) {
	t.Helper()
	resp := send(t, "POST", serve(t, api.handler())+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
	require.Equal(t, http.StatusCreated, resp.status, resp.body)
	require.Equal(t, `{"id":1,"name":"x","publisher":"p","cost":"1"}`+"\n", resp.body)
	_, err := api.store.platform(t.Context(), 1)
	require.NoError(t, err)
}

func TestCommandsServiceIsNotified(t *testing.T) {
	received := make(chan string, 2)
	commands := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		received <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(body)
		_, _ = io.WriteString(w, `{"status":"ok"}`)
	}))
	log, logged := captureLog()
	api := commandsAPI(t, commands+"/api/c/platforms", patience, log)
	requireCreated(t, api)

	assert.Equal(t, `POST /api/c/platforms application/json {"id":1,"name":"x","publisher":"p","cost":"1"}`,
		receive(t, "the platform at CommandsService", received))
	assert.Len(t, logged.lines(`msg="CommandsService notified" id=1`), 1)

	requireProblem(t, send(t, "POST", serve(t, api.handler())+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost")
	assert.Empty(t, received, "only what was created is sent")
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
		{"it returns 500", patience,
			func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { http.Error(w, "out of memory", 500) },
			"500 Internal Server Error: out of memory"},
		{"it returns 400", patience,
			func(w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) { http.Error(w, "", 400) }, "400 Bad Request"},
		{"it hangs up", patience,
			func(http.ResponseWriter, *http.Request, <-chan struct{}) { panic(http.ErrAbortHandler) }, "EOF"},
		// To follow one would be to GET, and to take the 200 for success.
		{"it redirects", patience,
			func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) {
				if r.URL.Path != "/elsewhere" {
					http.Redirect(w, r, "/elsewhere", http.StatusFound)
				}
			}, "302 Found"},
	} {
		t.Run("because "+row.what, func(t *testing.T) {
			end := make(chan struct{})
			commands := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { row.respond(w, r, end) }))
			t.Cleanup(func() { close(end) }) // before the server is closed, which waits for its handlers
			log, logged := captureLog()
			requireCreated(t, commandsAPI(t, commands, row.timeout, log))
			lines := logged.lines(`level=WARN msg="CommandsService not notified" id=1`)
			require.Len(t, lines, 1)
			assert.Contains(t, lines[0], row.logs)
			assert.Empty(t, logged.lines("CommandsService notified"))
		})
	}

	t.Run("because it is down", func(t *testing.T) {
		down := httptest.NewServer(nil)
		down.Close()
		log, logged := captureLog()
		requireCreated(t, commandsAPI(t, down.URL, patience, log))
		assert.Len(t, logged.lines(`level=WARN msg="CommandsService not notified" id=1`), 1)
	})
}

// TestCommandsServiceIsNotifiedThoughTheClientHasGone: once the platform is
// stored, CommandsService is notified too.
func TestCommandsServiceIsNotifiedThoughTheClientHasGone(t *testing.T) {
	ctx, hangUp := context.WithCancel(t.Context())
	commands := serve(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hangUp() }))
	log, logged := captureLog()
	api := commandsAPI(t, commands, patience, log)
	request := httptest.NewRequestWithContext(ctx, "POST", "/api/platforms",
		strings.NewReader(`{"name":"x","publisher":"p","cost":"1"}`))
	request.Header.Set("Content-Type", "application/json")
	api.handler().ServeHTTP(httptest.NewRecorder(), request)
	assert.Len(t, logged.lines("CommandsService notified"), 1)
}

func TestCommandsClientIgnoresTheEnvironmentsProxy(t *testing.T) {
	transport := newCommandsClient("http://commands.example/", patience).http.Transport.(*http.Transport)
	assert.Nil(t, transport.Proxy)
}
