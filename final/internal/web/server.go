// Package web is the HTTP kit of every service: routes, JSON, problems, lists,
// idempotency keys and probes, with bounds on what a client can make a server hold in
// memory.
package web

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"microcomm/final/internal/tlsconfig"
)

// maxHeaderBytes bounds the header of a request. Tokens, cookies and what proxies
// add take a few KiB. With net/http's default, 1 MiB, a hundred connections fill
// the memory of a pod.
const maxHeaderBytes = 16 << 10

// LimitConnections returns a listener that has at most n connections open at a
// time. Others wait in the kernel, where they cost the process nothing. It differs
// from golang.org/x/net/netutil.LimitListener in that its connections can still
// close one side. Otherwise net/http could only reset the connection after it has
// refused a header, and the client might lose the response.
func LimitConnections(listener net.Listener, n int) net.Listener {
	return &limitedListener{Listener: listener, places: make(chan struct{}, n), closed: make(chan struct{})}
}

type limitedListener struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	close  sync.Once
}

// Accept implements net.Listener.
func (l *limitedListener) Accept() (net.Conn, error) {
	select {
	case l.places <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.places
		return nil, err
	}
	return &limitedConn{Conn: conn, free: func() { <-l.places }}, nil
}

// Close implements net.Listener.
func (l *limitedListener) Close() error {
	l.close.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

type limitedConn struct {
	net.Conn
	free  func()
	close sync.Once
}

// Close implements net.Conn.
func (c *limitedConn) Close() error {
	defer c.close.Do(c.free)
	return c.Conn.Close()
}

// CloseWrite is for net/http.
func (c *limitedConn) CloseWrite() error {
	if conn, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return conn.CloseWrite()
	}
	return nil
}

// Listen returns listener or, when it is nil, a new one on addr. It has at most limit
// connections open at a time, and speaks TLS when files has a certificate.
func Listen(listener net.Listener, addr string, files tlsconfig.Files, limit int) (net.Listener, error) {
	config, err := files.Server()
	if err != nil {
		return nil, err
	}
	if listener == nil {
		if listener, err = net.Listen("tcp", addr); err != nil {
			return nil, err
		}
	}
	limited := LimitConnections(listener, limit)
	if config == nil {
		return limited, nil
	}
	return tls.NewListener(limited, config), nil
}

// NewServer returns a server for a listener that is limited to maxConnections.
// When so many are open it closes the idle ones: clients that want nothing now
// leave their places to those that wait. net/http's own errors are logged with
// log. The caller sets ReadTimeout and WriteTimeout.
func NewServer(handler http.Handler, maxConnections int, log *slog.Logger) *http.Server {
	server := &http.Server{
		Handler:           handler,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	var mu sync.Mutex
	open := 0
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		mu.Lock()
		defer mu.Unlock()
		switch state {
		case http.StateNew:
			open++
		case http.StateClosed, http.StateHijacked:
			open--
		default:
			return
		}
		server.SetKeepAlivesEnabled(open < maxConnections) // false closes those that are idle
	}
	return server
}

// StopTimeout is how long stop waits for requests in flight. Only one whose
// client sends slowly can take longer: it is cut off.
const StopTimeout = RequestTimeout + 2*time.Second

// HTTPServer is a running HTTP server.
type HTTPServer struct {
	server *http.Server
	admin  *http.Server // nil: there is no admin port
	serve  sync.WaitGroup
	Failed chan error // receives an error when serving ends before Stop is called
}

// StartHTTP serves handler on listener, which is limited to maxConnections, and
// closes it when serving ends.
func StartHTTP(listener net.Listener, maxConnections int, handler http.Handler, log *slog.Logger) *HTTPServer {
	s := &HTTPServer{
		server: newTimedServer(handler, maxConnections, log),
		Failed: make(chan error, 2), // one for each server
	}
	s.serve.Go(func() {
		if err := s.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.Failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	})
	return s
}

// newTimedServer returns a server with the time limits of one whose requests take
// RequestTimeout.
func newTimedServer(handler http.Handler, maxConnections int, log *slog.Logger) *http.Server {
	server := NewServer(handler, maxConnections, log)
	server.ReadTimeout = RequestTimeout
	server.WriteTimeout = 3 * RequestTimeout // counted from the header on: read, handle, write
	return server
}

// Stop accepts no new requests, and returns when those in flight have their
// responses or StopTimeout has passed.
func (s *HTTPServer) Stop() {
	ctx, cancel := context.WithTimeout(context.Background(), StopTimeout)
	defer cancel()
	if s.server.Shutdown(ctx) != nil {
		s.server.Close()
	}
	if s.admin != nil {
		s.admin.Close()
	}
	s.serve.Wait()
}
