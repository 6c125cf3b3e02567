package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"microcomm/final/internal/web"
)

// stopTimeout is how long stop waits for requests in flight. Only one whose
// client sends slowly can take longer: it is cut off.
const stopTimeout = requestTimeout + 2*time.Second

// httpServer is a running HTTP server.
type httpServer struct {
	server *http.Server
	serve  sync.WaitGroup
	failed chan error // receives an error when serving ends before stop is called
}

// startHTTP serves handler on listener, which is limited to maxConnections, and
// closes it when serving ends.
func startHTTP(listener net.Listener, maxConnections int, handler http.Handler, log *slog.Logger) *httpServer {
	s := &httpServer{
		server: web.NewServer(handler, maxConnections, log),
		failed: make(chan error, 1),
	}
	s.server.ReadTimeout = requestTimeout
	s.server.WriteTimeout = 3 * requestTimeout // counted from the header on: read, handle, write
	s.serve.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	})
	return s
}

// stop accepts no new requests, and returns when those in flight have their
// responses or stopTimeout has passed.
func (s *httpServer) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	s.serve.Wait()
}
