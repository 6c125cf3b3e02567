package main

import (
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// writeTimeout bounds the time that a client takes for its next piece of a
// response. It is longer than a service's own, so that the service decides.
const writeTimeout = 45 * time.Second

// newGateway returns what the Ingress is in a cluster: one address for both
// services, which are told apart by the path. The arguments are host:port.
func newGateway(platformsAddr, commandsAddr string, log *slog.Logger) http.Handler {
	platforms, commands := newProxy(platformsAddr, log), newProxy(commandsAddr, log)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = lasting{w}
		switch {
		case hasPathPrefix(r.URL.Path, "/api/platforms"):
			platforms.ServeHTTP(w, r)
		case hasPathPrefix(r.URL.Path, "/api/c/platforms"):
			commands.ServeHTTP(w, r)
		default:
			http.Error(w, "There is nothing here. Try /api/platforms or /api/c/platforms.", http.StatusNotFound)
		}
	})
}

// hasPathPrefix is the Ingress's pathType Prefix: it goes by whole elements, so
// /api/platforms is a prefix of /api/platforms/1 but not of /api/platformsfoo.
func hasPathPrefix(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, prefix)
	return ok && (rest == "" || strings.HasPrefix(rest, "/"))
}

// lasting moves the time limit with each piece that is written: a long list is
// not cut off while it arrives.
type lasting struct{ http.ResponseWriter }

func (w lasting) Write(piece []byte) (int, error) {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(writeTimeout))
	return w.ResponseWriter.Write(piece)
}

// Unwrap is for http.ResponseController.
func (w lasting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func newProxy(addr string, log *slog.Logger) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			r.SetXForwarded()
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.Warn("no response from the service", "path", r.URL.Path, "error", err)
			http.Error(w, "The service behind this address did not respond.", http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
