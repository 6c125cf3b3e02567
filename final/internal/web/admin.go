package web

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"microcomm/final/internal/tlsconfig"
)

// maxAdminConnections bounds the connections of the admin port: probes and a few scrapes.
const maxAdminConnections = 64

// WithMetrics serves GET /metrics with metrics, for clients that guard lets pass,
// and leaves every other request to next.
func WithMetrics(metrics http.Handler, guard *Guard, next http.Handler) http.Handler {
	routes := ByMethod{http.MethodGet: Authenticated(func(w http.ResponseWriter, r *http.Request) error {
		metrics.ServeHTTP(w, r)
		return nil
	})}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.TrimSuffix(r.URL.Path, "/") != "/metrics" {
			next.ServeHTTP(w, r)
			return
		}
		var p *Problem
		if errors.As(routes.serve(w, r, guard), &p) { // no other error comes from here
			WriteProblem(w, p)
		}
	})
}

// AdminHandler returns what is served on the admin port: the probes, and the
// metrics without a token.
func AdminHandler(health *Health, metrics http.Handler) http.Handler {
	return WithMetrics(metrics, nil, health.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WriteProblem(w, NewProblem(http.StatusNotFound, "there is nothing at this path: this is the admin port"))
	})))
}

// ServeAdmin serves handler on addr too, until Stop has stopped everything else:
// the probes are the last to go. An empty addr means none. With a certificate among
// files it speaks TLS, but asks for no client certificate, which a probe cannot have.
func (s *HTTPServer) ServeAdmin(addr string, files tlsconfig.Files, handler http.Handler, log *slog.Logger) error {
	if addr == "" {
		return nil
	}
	files.CA = ""
	listener, err := Listen(nil, addr, files, maxAdminConnections)
	if err != nil {
		return err
	}
	log.Info("listening for probes and metrics", "addr", listener.Addr())
	s.admin = newTimedServer(handler, maxAdminConnections, log)
	s.serve.Go(func() {
		if err := s.admin.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			s.Failed <- fmt.Errorf("serve the admin port: %w", err)
		}
	})
	return nil
}
