package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// StopTimeout is how long stop waits for requests in flight. Only one whose
// client sends slowly can take longer: it is cut off.
const StopTimeout = RequestTimeout + 2*time.Second

// HTTPServer is a running HTTP server.
type HTTPServer struct {
	server *http.Server
	serve  sync.WaitGroup
	Failed chan error // receives an error when serving ends before stop is called
}

// StartHTTP serves handler on listener, which is limited to maxConnections, and
// closes it when serving ends.
func StartHTTP(listener net.Listener, maxConnections int, handler http.Handler, log *slog.Logger) *HTTPServer {
	s := &HTTPServer{
		server: NewServer(handler, maxConnections, log),
		Failed: make(chan error, 1),
	}
	s.server.ReadTimeout = RequestTimeout
	s.server.WriteTimeout = 3 * RequestTimeout // counted from the header on: read, handle, write
	s.serve.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.Failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	})
	return s
}

// Stop accepts no new requests, and returns when those in flight have their
// responses or StopTimeout has passed.
func (s *HTTPServer) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	s.serve.Wait()
}
