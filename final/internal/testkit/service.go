package testkit

import (
	"context"
	"log/slog"
	"strings"
	"testing"

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
