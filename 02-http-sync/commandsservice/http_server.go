package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

// stopTimeout is how long requests that are under way may take when the service
// stops. Only one whose client sends slowly could take longer, and is cut off.
const stopTimeout = requestTimeout + 2*time.Second

// httpListener is an HTTP server that has been started.
type httpListener struct {
	server *http.Server
	addr   string // where it listens, with the real port
	serve  sync.WaitGroup
	failed chan error // has an error when serving ended before stop was called
}

// startHTTP listens on addr and serves handler. The error names the variable
// that addr came from.
func startHTTP(variable, addr string, handler http.Handler) (*httpListener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for HTTP (%s): %w", variable, err)
	}
	s := &httpListener{
		server: &http.Server{
			Handler:           handler,
			ReadHeaderTimeout: 5 * time.Second,
			ReadTimeout:       requestTimeout,
			WriteTimeout:      3 * requestTimeout, // from the header on: reading, doing, writing
			IdleTimeout:       time.Minute,
		},
		addr:   listener.Addr().String(),
		failed: make(chan error, 1),
	}
	s.serve.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	})
	return s, nil
}

// stop takes no new requests and gives the ones under way until stopTimeout.
func (s *httpListener) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	s.serve.Wait()
}
