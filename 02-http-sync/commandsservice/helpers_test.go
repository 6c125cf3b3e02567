package commandsservice

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience bounds how long a test waits for what must happen.
const patience = 20 * time.Second

// eventually waits until condition is true, and fails the test when that takes
// longer than patience.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.FailNow(t, "timed out waiting for: "+what)
		}
	}
}

// receive returns the next value of a channel, and fails the test when none
// arrives.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.FailNow(t, "timed out waiting for: "+what)
		panic("not reached")
	}
}

// waitRefused returns when nothing listens at addr any more.
func waitRefused(t testing.TB, addr string) {
	t.Helper()
	eventually(t, "no new connections", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// noGoroutineLeft checks, after all other cleanups of the test, that as many
// goroutines run as do now. So it is called first.
func noGoroutineLeft(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		defer func() {
			if t.Failed() {
				stacks := make([]byte, 1<<20)
				t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
			}
		}()
		eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// logCapture keeps what was logged.
type logCapture struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// captureLog returns a logger and what it is going to log.
func captureLog() (*slog.Logger, *logCapture) {
	logged := &logCapture{}
	return slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})), logged
}

func (l *logCapture) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// lines returns the lines that hold text.
func (l *logCapture) lines(text string) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.text.String()) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

// serve runs handler on a free port until the test ends, and returns its URL.
func serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// response is what a server sent.
type response struct {
	status int
	header http.Header
	body   string
}

// send sends a request and returns the response. The body is sent as JSON
// unless header, which lists names and values in turn, says otherwise.
func send(t testing.TB, method, url, body string, header ...string) response {
	t.Helper()
	request := newRequest(t, method, url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return sendRequest(t, request)
}

// newRequest returns a request with a body of JSON. A body of unknown length is
// sent in chunks.
func newRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	return request
}

// sendRequest sends a request and returns the response, which may be a redirect.
func sendRequest(t testing.TB, request *http.Request) response {
	t.Helper()
	client := &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{DisableKeepAlives: true}, // leaves no goroutine
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(request)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return response{res.StatusCode, res.Header, string(body)}
}

// requireJSON requires a response of this status with this JSON.
func requireJSON(t testing.TB, r response, status int, body string) {
	t.Helper()
	require.Equal(t, status, r.status, r.body)
	require.Equal(t, "application/json", r.header.Get("Content-Type"))
	require.JSONEq(t, body, r.body)
}

// requireProblem requires a problem of this status with every member that a
// problem has, and with errors for exactly these fields.
func requireProblem(t testing.TB, r response, status int, fields ...string) problem {
	t.Helper()
	require.Equal(t, status, r.status, r.body)
	assert.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	var p problem
	require.NoError(t, json.Unmarshal([]byte(r.body), &p), r.body)
	assert.Equal(t, "about:blank", p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.Equal(t, status, p.Status)
	assert.NotEmpty(t, p.Detail)
	assert.ElementsMatch(t, fields, slices.Collect(maps.Keys(p.Errors)), r.body)
	for field, messages := range p.Errors {
		assert.NotEmpty(t, messages, field)
	}
	return p
}

// inParallel calls do n times at once, with 0 … n-1, and waits for all.
func inParallel(t testing.TB, n int, do func(i int) error) {
	t.Helper()
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { errs[i] = do(i) })
	}
	all.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

// oddTexts are texts that must be returned exactly as they were stored.
func oddTexts() map[string]string {
	return map[string]string{
		"quotes":           `it's "quoted", 'twice' and \back\slashed`,
		"markup":           `<script>alert("x")</script> &amp; <!-- -->`,
		"SQL":              `'); DROP TABLE platforms; --`,
		"line breaks":      "one\ntwo\r\nthree\ttab",
		"NUL":              "before\x00after",
		"control":          "\x01\x1b[31mred\x7f",
		"emoji":            "🚀 👩‍👩‍👧 é é",
		"outside the BMP":  "𝒳 \U0010FFFF",
		"right to left":    "שלום \u202eabc",
		"line separators":  "a\u2028b\u2029c\ufeffd",
		"replacement char": "\uFFFD",
		"blanks around":    "  x  ",
		"placeholders":     `%s %d {0} ? $1 :name @p1`,
		"the longest":      strings.Repeat("😀", 500),
	}
}
