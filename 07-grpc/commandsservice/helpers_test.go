package commandsservice

import (
	"bytes"
	"context"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

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
func memoryStore(t testing.TB) commandStore {
	t.Helper()
	store, err := openStore("sqlite::memory:")
	require.NoError(t, err)
	t.Cleanup(func() { store.close() })
	require.NoError(t, store.migrate(t.Context()))
	return store
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
		"long":             strings.Repeat("long ", 50_000),
	}
}
