package testkit

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Held is a REST API over a store whose calls wait: each of them calls Hold.
type Held struct {
	Entered chan struct{} // receives a value from each call
	Release chan struct{} // closed by the test: from then on no call waits
	Noticed chan struct{} // receives a value when the server notices that a client has disconnected
	URL     string        // of the API
	api     http.Handler
}

// NewHeld returns a Held whose API is not served yet.
func NewHeld() *Held {
	return &Held{Entered: make(chan struct{}, 100), Release: make(chan struct{}), Noticed: make(chan struct{}, 100)}
}

// Hold waits until Release is closed.
func (h *Held) Hold() {
	h.Entered <- struct{}{}
	<-h.Release
}

// Serve serves api until the test ends.
func (h *Held) Serve(t testing.TB, api http.Handler) {
	t.Helper()
	h.api = api
	h.URL = Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { h.Noticed <- struct{}{} })
		api.ServeHTTP(w, r)
	}))
}

// RequireCounted requires that the API's metrics count one request to route with
// this status.
func (h *Held) RequireCounted(t testing.TB, method, route string, status int) {
	t.Helper()
	line := fmt.Sprintf("http_server_request_duration_seconds_count{method=%q,route=%q,status=\"%d\"} 1", method, route, status)
	Eventually(t, line, func() bool { return strings.Contains(Send(t, "GET", h.URL+"/metrics", "").Body, line) })
}

// Rows are those that a REST API with one row lists and creates.
type Rows struct {
	*Held
	Path, Route string     // of the list, and of the POST that creates a row
	Body        string     // of such a POST
	Fill        func()     // creates more rows than the buffers of a connection hold
	Count       func() int // how many there are
}

// head returns the head of a POST with these fields, up to its empty line.
func (r Rows) head(fields string) string {
	return "POST " + r.Path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + fields + "\r\n\r\n"
}

// HalfClosed is a request whose client closes its side of the connection once it is
// sent, as nc -N does, and what is expected of the response.
type HalfClosed struct {
	Method, Path, Route, Body string
	Status                    int
	Response                  string // a part of it
}

// TestHalfClosedConnection tests that such a client gets the true response.
func TestHalfClosedConnection(t *testing.T, hold func(testing.TB) Rows, requests []HalfClosed) {
	for _, r := range requests {
		t.Run(fmt.Sprintf("%s %s is a %d", r.Method, r.Path, r.Status), func(t *testing.T) {
			rows := hold(t)
			conn := Dial(t, rows.URL)
			conn.Send(t, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
				r.Method, r.Path, len(r.Body), r.Body))
			require.NoError(t, conn.CloseWrite())
			Receive(t, "a call of the store", rows.Entered)
			Receive(t, "the server to notice", rows.Noticed)
			close(rows.Release)
			got := conn.Response(t)
			assert.Equal(t, r.Status, got.Status)
			assert.Contains(t, got.Body, r.Response)
			rows.RequireCounted(t, r.Method, r.Route, r.Status)
		})
	}
}

// TestDisconnectedClient tests that what never got its response does not count as
// a success.
func TestDisconnectedClient(t *testing.T, hold func(testing.TB) Rows) {
	t.Run("in the middle of its body counts as 499", func(t *testing.T) {
		rows := hold(t)
		conn := Dial(t, rows.URL)
		conn.Send(t, rows.head("Content-Length: 100\r\nExpect: 100-continue"))
		conn.RequireContinue(t)
		conn.Send(t, "{")
		conn.Reset(t)
		rows.RequireCounted(t, "POST", rows.Route, 499)
	})

	t.Run("in the middle of a list counts as 499", func(t *testing.T) {
		rows := hold(t)
		rows.Fill()
		close(rows.Release)
		conn := Dial(t, rows.URL)
		require.NoError(t, conn.SetReadBuffer(4096))
		conn.Send(t, "GET "+rows.Path+" HTTP/1.1\r\nHost: x\r\n\r\n")
		_, err := conn.Reader.ReadString('\n')
		require.NoError(t, err)
		conn.Reset(t)
		rows.RequireCounted(t, "GET", rows.Route, 499)
	})

	t.Run("after its body changes nothing: what it asked for is done", func(t *testing.T) {
		rows := hold(t)
		conn := Dial(t, rows.URL)
		conn.Send(t, rows.head(fmt.Sprintf("Content-Length: %d", len(rows.Body)))+rows.Body)
		Receive(t, "a call of the store", rows.Entered)
		conn.Reset(t)
		Receive(t, "the server to notice", rows.Noticed)
		close(rows.Release)
		rows.RequireCounted(t, "POST", rows.Route, 201)
		assert.Equal(t, 2, rows.Count())
	})
}

// TestSlowBodies tests that requests whose bodies have not arrived leave the slots
// to others. The API must have fewer than ten.
func TestSlowBodies(t *testing.T, hold func(testing.TB) Rows) {
	rows := hold(t)
	close(rows.Release)
	var conns []Conn
	for range 10 {
		conn := Dial(t, rows.URL)
		conn.Send(t, rows.head(fmt.Sprintf("Content-Length: %d\r\nExpect: 100-continue", len(rows.Body))))
		conn.RequireContinue(t)
		conn.Send(t, rows.Body[:1])
		conns = append(conns, conn)
	}
	assert.Equal(t, http.StatusCreated, Send(t, "POST", rows.URL+rows.Path, rows.Body).Status)
	assert.Equal(t, http.StatusOK, Send(t, "GET", rows.URL+rows.Path, "").Status)
	for _, conn := range conns {
		conn.Send(t, rows.Body[1:])
		assert.Equal(t, http.StatusCreated, conn.Response(t).Status)
	}
}

// TestRefusedBodies tests that what is wrong with a body is a problem like any
// other.
func TestRefusedBodies(t *testing.T, hold func(testing.TB) Rows) {
	for what, row := range map[string]struct {
		fields, body string
		status       int
	}{
		"ends early":                 {"Content-Length: 100", "{", http.StatusBadRequest},
		"has a chunk without a size": {"Transfer-Encoding: chunked", "x\r\n{}\r\n0\r\n\r\n", http.StatusBadRequest},
		"is announced as too large":  {"Content-Length: 1048577\r\nExpect: 100-continue", "", http.StatusRequestEntityTooLarge},
	} {
		t.Run(fmt.Sprintf("one that %s is a %d", what, row.status), func(t *testing.T) {
			rows := hold(t)
			conn := Dial(t, rows.URL)
			conn.Send(t, rows.head(row.fields)+row.body)
			require.NoError(t, conn.CloseWrite())
			RequireProblem(t, conn.Response(t), row.status)
			rows.RequireCounted(t, "POST", rows.Route, row.status)
		})
	}

	t.Run("one that stops arriving is a 408", func(t *testing.T) {
		rows := hold(t)
		server := httptest.NewUnstartedServer(rows.api)
		server.Config.ReadHeaderTimeout, server.Config.ReadTimeout = Patience, 100*time.Millisecond
		server.Start()
		defer server.Close()
		conn := Dial(t, server.URL)
		conn.Send(t, rows.head("Content-Length: 100")+"{")
		RequireProblem(t, conn.Response(t), http.StatusRequestTimeout)
	})
}
