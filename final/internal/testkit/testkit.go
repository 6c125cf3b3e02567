// Package testkit holds what the tests of several packages need: waiting, requests, logs.
package testkit

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
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Patience bounds how long a test waits for what must happen.
const Patience = 20 * time.Second

// Eventually waits until condition is true, and fails the test when that takes
// longer than Patience.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
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

// Receive returns the next value of a channel, and fails the test when none
// arrives.
func Receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(Patience):
		require.FailNow(t, "timed out waiting for: "+what)
		panic("not reached")
	}
}

// WaitRefused returns when nothing listens at addr any more.
func WaitRefused(t testing.TB, addr string) {
	t.Helper()
	Eventually(t, "no new connections", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
}

// NoGoroutineLeft checks, after all other cleanups of the test, that as many
// goroutines run as do now. So it is called first.
func NoGoroutineLeft(t testing.TB) {
	t.Helper()
	before := runtime.NumGoroutine()
	t.Cleanup(func() {
		defer func() {
			if t.Failed() {
				stacks := make([]byte, 1<<20)
				t.Logf("%s", stacks[:runtime.Stack(stacks, true)])
			}
		}()
		Eventually(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// LogCapture keeps what was logged.
type LogCapture struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// CaptureLog returns a logger and what it is going to log.
func CaptureLog() (*slog.Logger, *LogCapture) {
	logged := &LogCapture{}
	return slog.New(slog.NewTextHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})), logged
}

func (l *LogCapture) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

// Lines returns the lines that hold text.
func (l *LogCapture) Lines(text string) []string {
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

// Serve runs handler on a free port until the test ends, and returns its URL.
func Serve(t testing.TB, handler http.Handler) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// Response is what a server sent.
type Response struct {
	Status int
	Header http.Header
	Body   string
}

// Send sends a request and returns the response. The body is sent as JSON
// unless header, which lists names and values in turn, says otherwise.
func Send(t testing.TB, method, url, body string, header ...string) Response {
	t.Helper()
	request := NewRequest(t, method, url, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return SendRequest(t, request)
}

// NewRequest returns a request with a body of JSON. A body of unknown length is
// sent in chunks.
func NewRequest(t testing.TB, method, url string, body io.Reader) *http.Request {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	return request
}

// SendRequest sends a request and returns the response, which may be a redirect.
func SendRequest(t testing.TB, request *http.Request) Response {
	t.Helper()
	client := &http.Client{
		Timeout:       Patience,
		Transport:     &http.Transport{DisableKeepAlives: true}, // leaves no goroutine
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Do(request)
	require.NoError(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	return Response{res.StatusCode, res.Header, string(body)}
}

// problemBody is application/problem+json as a client reads it.
type problemBody struct {
	Type     string              `json:"type"`
	Title    string              `json:"title"`
	Status   int                 `json:"status"`
	Detail   string              `json:"detail"`
	Instance string              `json:"instance"`
	Errors   map[string][]string `json:"errors"`
}

// RequireJSON requires a response of this status with this JSON.
func RequireJSON(t testing.TB, r Response, status int, body string) {
	t.Helper()
	require.Equal(t, status, r.Status, r.Body)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	require.JSONEq(t, body, r.Body)
}

// RequireProblem requires a problem of this status with every member that a
// problem has, and with errors for exactly these fields.
func RequireProblem(t testing.TB, r Response, status int, fields ...string) problemBody {
	t.Helper()
	require.Equal(t, status, r.Status, r.Body)
	assert.Equal(t, "application/problem+json", r.Header.Get("Content-Type"))
	var p problemBody
	require.NoError(t, json.Unmarshal([]byte(r.Body), &p), r.Body)
	assert.Equal(t, "about:blank", p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.Equal(t, status, p.Status)
	assert.NotEmpty(t, p.Detail)
	assert.ElementsMatch(t, fields, slices.Collect(maps.Keys(p.Errors)), r.Body)
	for field, messages := range p.Errors {
		assert.NotEmpty(t, messages, field)
	}
	return p
}

// InParallel calls do n times at once, with 0 … n-1, and waits for all.
func InParallel(t testing.TB, n int, do func(i int) error) {
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

// LateDatabase returns the URL of a SQLite file in a folder that does not exist until
// arrive is called: a database that is not up yet.
func LateDatabase(t testing.TB) (databaseURL string, arrive func()) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "later")
	return "sqlite:" + filepath.Join(folder, "late.db"), func() { require.NoError(t, os.Mkdir(folder, 0o700)) }
}

// OddTexts are texts that must be returned exactly as they were stored.
func OddTexts() map[string]string {
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
