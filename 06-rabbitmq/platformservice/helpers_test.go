package platformservice

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what is going to happen anyway.
const patience = 20 * time.Second

// waitFor returns when condition is true, and fails the test when it does not
// become so.
func waitFor(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			require.FailNow(t, "waited in vain: "+what)
		}
	}
}

// receive returns what comes from a channel, and fails the test when nothing
// does.
func receive[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.FailNow(t, "waited in vain: "+what)
		panic("not reached")
	}
}

// waitRefused returns when nobody listens at addr any more.
func waitRefused(t testing.TB, addr string) {
	t.Helper()
	waitFor(t, "no new connections", func() bool {
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
		waitFor(t, "no goroutine left", func() bool { return runtime.NumGoroutine() <= before })
	})
}

// memoryStore returns an empty store in memory.
func memoryStore(t testing.TB) platformStore {
	t.Helper()
	return openTestStore(t, "sqlite::memory:")
}

// openStore returns the store that url names, ready for use.
func openTestStore(t testing.TB, url string) platformStore {
	t.Helper()
	store, err := openStore(url)
	require.NoError(t, err)
	t.Cleanup(func() { store.close() })
	require.NoError(t, store.migrate(t.Context()))
	return store
}

// createPlatform stores a platform of this name.
func createPlatform(t testing.TB, store platformStore, name string) platform {
	t.Helper()
	platform, err := store.createPlatform(t.Context(), platform{Name: name, Publisher: "Microsoft", Cost: "Free"})
	require.NoError(t, err)
	return platform
}

// logCapture keeps what was logged.
type logCapture struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// captureLog returns a logger and what it is going to log.
func captureLog() (*slog.Logger, *logCapture) {
	logged := &logCapture{}
	return slog.New(slog.NewTextHandler(logged, nil)), logged
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

// answer is what a server answered.
type answer struct {
	status int
	header http.Header
	body   string
}

// send sends a request, with a body of JSON unless that is empty, and returns
// the answer. A redirect is an answer like any other.
func send(t testing.TB, method, url, body string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	require.NoError(t, err)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	return sendRequest(t, request)
}

func sendRequest(t testing.TB, request *http.Request) answer {
	t.Helper()
	client := &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{DisableKeepAlives: true}, // leaves no goroutine
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

// requireProblem checks that a is a problem of this status with every member
// that a problem has, and returns it.
func requireProblem(t testing.TB, status int, a answer) problem {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	var p problem
	require.NoError(t, json.Unmarshal([]byte(a.body), &p), a.body)
	assert.NotEmpty(t, p.Type)
	assert.Equal(t, http.StatusText(status), p.Title)
	assert.Equal(t, status, p.Status)
	assert.NotEmpty(t, p.Detail)
	return p
}

// oddTexts are texts that must come back as they went in.
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
		"long":             strings.Repeat("long ", 100_000),
	}
}
