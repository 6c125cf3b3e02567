package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/web"
)

// writeTimeout bounds the time that a client takes for its next piece of a
// response. It is longer than a service's own, so that the service decides.
const writeTimeout = 45 * time.Second

// maxConnections bounds the connections of clients.
const maxConnections = 512

// newGateway returns what the Ingress is in a cluster: one address for all
// services, which are told apart by the path. The addresses are host:port; that of the
// console may be empty. Proxies that are trusted may name the client in X-Forwarded-For.
func newGateway(platformsAddr, commandsAddr, consoleAddr string, trusted []netip.Prefix, log *slog.Logger) http.Handler {
	var bodies web.Bodies
	platforms, commands, console := newProxy(platformsAddr, trusted, log), newProxy(commandsAddr, trusted, log), newProxy(consoleAddr, trusted, log)
	return requestid.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = lasting{w}
		switch {
		case hasPathPrefix(r.URL.Path, "/api/platforms"), hasPathPrefix(r.URL.Path, "/docs"), hasPathPrefix(r.URL.Path, "/openapi.json"):
			forward(w, r, &bodies, platforms)
		case hasPathPrefix(r.URL.Path, "/api/c/platforms"):
			forward(w, r, &bodies, commands)
		case consoleAddr != "" && isConsole(r.URL.Path):
			console.ServeHTTP(w, r) // not forward: a feed ends when its client disconnects
		default:
			web.WriteProblem(w, web.NewProblem(http.StatusNotFound, "there is nothing here: try /api/platforms or /api/c/platforms"))
		}
	}))
}

// isConsole reports whether a path is one of the console's.
func isConsole(path string) bool {
	return path == "/" || path == "/feed" || hasPathPrefix(path, "/console") || hasPathPrefix(path, "/control")
}

// forward reads the body before the service is involved. So what is wrong with it
// is the client's fault, and a client that sends slowly keeps the gateway alone
// busy. From then on the client's connection no longer matters: one that has
// closed only its own side still reads the response.
func forward(w http.ResponseWriter, r *http.Request, bodies *web.Bodies, service http.Handler) {
	body, free, err := bodies.Read(w, r)
	if refused := (*web.BodyError)(nil); errors.As(err, &refused) {
		web.WriteProblem(w, refused.Problem(w))
		return
	}
	if err != nil {
		panic(http.ErrAbortHandler) // the client has disconnected
	}
	defer free()
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	whole := r.Clone(ctx)
	whole.Header.Del("Expect") // the body has arrived
	// GetBody lets the transport repeat a request that it began to send just as the
	// service closed an idle connection.
	whole.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	whole.Body, _ = whole.GetBody()
	whole.ContentLength, whole.TransferEncoding = int64(len(body)), nil
	service.ServeHTTP(w, whole)
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

// FlushError is for http.ResponseController. The header may be flushed before the
// first piece is written.
func (w lasting) FlushError() error {
	connection := http.NewResponseController(w.ResponseWriter)
	_ = connection.SetWriteDeadline(time.Now().Add(writeTimeout))
	return connection.Flush()
}

// Unwrap is for http.ResponseController.
func (w lasting) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func newProxy(addr string, trusted []netip.Prefix, log *slog.Logger) http.Handler {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = writeTimeout
	return &httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what cannot be read: the service refuses it
			r.SetURL(&url.URL{Scheme: "http", Host: addr})
			if peer, err := netip.ParseAddrPort(r.In.RemoteAddr); err == nil && web.IsTrusted(peer.Addr().Unmap(), trusted) {
				r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"] // which SetXForwarded adds to
			}
			r.SetXForwarded()
			if web.OnLoopback(r.In) {
				r.Out.Host = r.In.Host // the console checks it
			}
			r.Out.Header.Set(requestid.Header, requestid.From(r.In.Context()))
		},
		ModifyResponse: func(response *http.Response) error {
			response.Header.Del(requestid.Header) // the gateway's own response has it, too
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			log.WarnContext(r.Context(), "no response from the service", "path", r.URL.Path, "error", err)
			web.WriteProblem(w, web.NewProblem(http.StatusBadGateway, "the service behind this address did not respond"))
		},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}
