package commandsservice

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestHalfClosedConnection: a client that has sent its request and closes its
// side of the connection, as nc -N does, gets the true response, and what it
// asked for is done.
func TestHalfClosedConnection(t *testing.T) {
	for _, row := range []struct {
		method, path, route, body string
		status                    int
		response                  string
	}{
		{"GET", "/api/c/platforms", "/api/c/platforms", "", 200, `[{"id":4,`},
		{"GET", "/api/c/platforms/4/commands", "/api/c/platforms/{platformId}/commands", "", 200, `[{"id":1,`},
		{"GET", "/api/c/platforms/9/commands", "/api/c/platforms/{platformId}/commands", "", 404, "there is no platform 9"},
		{"GET", "/api/c/platforms/4/commands/1", "/api/c/platforms/{platformId}/commands/{commandId}", "", 200, `{"id":1,`},
		{"POST", "/api/c/platforms/4/commands", "/api/c/platforms/{platformId}/commands", `{"howTo":"x","commandLine":"y"}`, 201, `{"id":2,"howTo":"x"`},
		{"POST", "/api/c/platforms", "/api/c/platforms", `{"id":5,"name":"five"}`, 200, `{"id":5,"name":"five"`},
	} {
		t.Run(fmt.Sprintf("%s %s is a %d", row.method, row.path, row.status), func(t *testing.T) {
			held := holdStore(t)
			conn := dial(t, held.url)
			conn.send(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				row.method, row.path, len(row.body), row.body))
			require.NoError(t, conn.CloseWrite())
			testkit.Receive(t, "a call of the store", held.entered)
			testkit.Receive(t, "the server to notice", held.noticed)
			close(held.release)
			r := conn.response(t)
			assert.Equal(t, row.status, r.Status)
			assert.Contains(t, r.Body, row.response)
			held.requireCounted(t, row.method, row.route, row.status)
		})
	}
}

// TestDisconnectedClient: what never got its response does not count as a success.
func TestDisconnectedClient(t *testing.T) {
	t.Run("in the middle of its body counts as 499", func(t *testing.T) {
		held := holdStore(t)
		conn := dial(t, held.url)
		conn.send(t, "POST /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
		conn.requireContinue(t)
		conn.send(t, "{")
		require.NoError(t, conn.SetLinger(0)) // Close resets the connection
		require.NoError(t, conn.Close())
		held.requireCounted(t, "POST", "/api/c/platforms/{platformId}/commands", 499)
	})

	t.Run("in the middle of a list counts as 499", func(t *testing.T) {
		held := holdStore(t)
		for range 1000 {
			_, err := held.commandStore.createCommand(t.Context(), command{PlatformID: 4, HowTo: "h", CommandLine: strings.Repeat("😀", 4000)})
			require.NoError(t, err)
		}
		close(held.release)
		conn := dial(t, held.url)
		require.NoError(t, conn.SetReadBuffer(4096))
		conn.send(t, "GET /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := conn.reader.ReadString('\n')
		require.NoError(t, err)
		require.NoError(t, conn.SetLinger(0))
		require.NoError(t, conn.Close())
		held.requireCounted(t, "GET", "/api/c/platforms/{platformId}/commands", 499)
	})

	t.Run("after its body changes nothing: what it asked for is done", func(t *testing.T) {
		held := holdStore(t)
		conn := dial(t, held.url)
		const body = `{"howTo":"x","commandLine":"y"}`
		conn.send(t, fmt.Sprintf("POST /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		testkit.Receive(t, "a call of the store", held.entered)
		require.NoError(t, conn.SetLinger(0))
		require.NoError(t, conn.Close())
		testkit.Receive(t, "the server to notice", held.noticed)
		close(held.release)
		held.requireCounted(t, "POST", "/api/c/platforms/{platformId}/commands", 201)
		assert.Len(t, commandsOf(t, held.commandStore, 4), 2)
	})
}

// TestSlowBodies: requests whose bodies have not arrived leave the slots to others.
func TestSlowBodies(t *testing.T) {
	held := holdStore(t)
	close(held.release)
	const body = `{"howTo":"x","commandLine":"y"}`
	var conns []tcpConn
	for range 10 {
		conn := dial(t, held.url)
		conn.send(t, fmt.Sprintf("POST /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body)))
		conn.requireContinue(t)
		conn.send(t, body[:1])
		conns = append(conns, conn)
	}
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", held.url+"/api/c/platforms/4/commands", body).Status)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", held.url+"/api/c/platforms/4/commands", "").Status)
	for _, conn := range conns {
		conn.send(t, body[1:])
		assert.Equal(t, http.StatusCreated, conn.response(t).Status)
	}
}

// TestRefusedBodies: what is wrong with a body is a problem like any other.
func TestRefusedBodies(t *testing.T) {
	for what, row := range map[string]struct {
		request string
		status  int
	}{
		"ends early":                 {"Content-Length: 100\r\n\r\n{", http.StatusBadRequest},
		"has a chunk without a size": {"Transfer-Encoding: chunked\r\n\r\nx\r\n{}\r\n0\r\n\r\n", http.StatusBadRequest},
		"is announced as too large":  {"Content-Length: 1048577\r\nExpect: 100-continue\r\n\r\n", http.StatusRequestEntityTooLarge},
	} {
		t.Run(fmt.Sprintf("one that %s is a %d", what, row.status), func(t *testing.T) {
			held := holdStore(t)
			conn := dial(t, held.url)
			conn.send(t, "POST /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"+row.request)
			require.NoError(t, conn.CloseWrite())
			testkit.RequireProblem(t, conn.response(t), row.status)
			held.requireCounted(t, "POST", "/api/c/platforms/{platformId}/commands", row.status)
		})
	}

	t.Run("one that stops arriving is a 408", func(t *testing.T) {
		log, _ := testkit.CaptureLog()
		server := httptest.NewUnstartedServer((&restAPI{store: memoryStore(t), slots: web.NewSlots(1), log: log}).handler())
		server.Config.ReadTimeout = 100 * time.Millisecond
		server.Start()
		defer server.Close()
		conn := dial(t, server.URL)
		conn.send(t, "POST /api/c/platforms/4/commands HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
		testkit.RequireProblem(t, conn.response(t), http.StatusRequestTimeout)
	})
}

// tcpConn is a connection of a client that speaks HTTP in its own way.
type tcpConn struct {
	*net.TCPConn
	reader *bufio.Reader
}

func dial(t testing.TB, url string) tcpConn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(testkit.Patience)))
	return tcpConn{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

func (c tcpConn) send(t testing.TB, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

// requireContinue returns when the server asks for the body.
func (c tcpConn) requireContinue(t testing.TB) {
	t.Helper()
	line, err := c.reader.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")
	_, err = c.reader.ReadString('\n') // the empty line after it
	require.NoError(t, err)
}

func (c tcpConn) response(t testing.TB) testkit.Response {
	t.Helper()
	r, err := http.ReadResponse(c.reader, nil)
	require.NoError(t, err)
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return testkit.Response{Status: r.StatusCode, Header: r.Header, Body: string(body)}
}

// heldStore is a store whose calls wait for release to be closed. Each says on
// entered that it waits.
type heldStore struct {
	commandStore
	entered, release chan struct{}
	url              string        // of the API that has this store
	noticed          chan struct{} // receives a value when the server notices that a client has disconnected
}

// holdStore serves the REST API over a new store, with the platform 4 and a command of it.
func holdStore(t testing.TB) *heldStore {
	t.Helper()
	held := &heldStore{commandStore: memoryStore(t), entered: make(chan struct{}, 100), release: make(chan struct{}), noticed: make(chan struct{}, 100)}
	addPlatforms(t, held.commandStore, platform{ExternalID: 4, Name: "four"})
	_, err := held.commandStore.createCommand(t.Context(), command{PlatformID: 4, HowTo: "h", CommandLine: "c"})
	require.NoError(t, err)
	log, _ := testkit.CaptureLog()
	registry := telemetry.NewRegistry()
	metrics := telemetry.NewHTTP(registry, noop.NewTracerProvider().Tracer(""))
	api := web.WithMetrics(telemetry.Metrics(registry), nil, metrics.Handler((&restAPI{store: held, slots: web.NewSlots(2), log: log}).handler()))
	held.url = testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { held.noticed <- struct{}{} })
		api.ServeHTTP(w, r)
	}))
	return held
}

func (s *heldStore) hold() {
	s.entered <- struct{}{}
	<-s.release
}

// requireCounted requires that a request to route counts as one with this status.
func (s *heldStore) requireCounted(t testing.TB, method, route string, status int) {
	t.Helper()
	line := fmt.Sprintf("http_server_request_duration_seconds_count{method=%q,route=%q,status=\"%d\"} 1", method, route, status)
	testkit.Eventually(t, line, func() bool { return strings.Contains(testkit.Send(t, "GET", s.url+"/metrics", "").Body, line) })
}

func (s *heldStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	s.hold()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return s.commandStore.platformsAfter(ctx, id, limit)
}

func (s *heldStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) ([]command, bool, error) {
	s.hold()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return s.commandStore.commandsAfter(ctx, platformID, id, limit)
}

func (s *heldStore) command(ctx context.Context, platformID, id int32) (command, error) {
	s.hold()
	return s.commandStore.command(ctx, platformID, id)
}

func (s *heldStore) addPlatform(ctx context.Context, p platform) (bool, error) {
	s.hold()
	return s.commandStore.addPlatform(ctx, p)
}

func (s *heldStore) createCommand(ctx context.Context, c command) (command, error) {
	s.hold()
	return s.commandStore.createCommand(ctx, c)
}

func (s *heldStore) createCommandOnce(ctx context.Context, key string, c command) (command, bool, error) {
	s.hold()
	return s.commandStore.createCommandOnce(ctx, key, c)
}
