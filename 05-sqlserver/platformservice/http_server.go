package platformservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
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

// startHTTP serves handler on listener, and closes it when serving ends.
func startHTTP(listener net.Listener, handler http.Handler) *httpServer {
	s := &httpServer{
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      3 * requestTimeout, // counted from the header on: read, handle, write
			IdleTimeout:       time.Minute,
			// Headers are kept in memory. By Go's default, 1 MiB a request, a few
			// hundred clients could fill it.
			MaxHeaderBytes: 16 << 10,
		},
		failed: make(chan error, 1),
	}
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
