// Command apidocs serves a page about the APIs of a stage, made from their OpenAPI
// documents, and forwards the requests that are sent from it to the services.
// `lab run` starts it.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"microcomm/final/apidoc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "apidocs:", err)
		os.Exit(1)
	}
}

// run serves the page until ctx ends. The arguments after the flags are documents with
// their services, each FILE=URL.
func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("apidocs", flag.ContinueOnError)
	addr := flags.String("addr", "localhost:0", "listen at `HOST:PORT`")
	title := flags.String("title", "APIs", "the page's `TITLE`")
	if err := flags.Parse(args); err != nil {
		return err
	}
	handler, err := newHandler(*title, flags.Args())
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", *addr)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	fmt.Printf("http://%s/docs\n", listener.Addr())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	server.Close()
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// newHandler serves the page for pairs FILE=URL. What follows a service's name in a path
// is forwarded to it: /platformservice/api/platforms.
func newHandler(title string, pairs []string) (http.Handler, error) {
	routes := http.NewServeMux()
	var apis []apidoc.API
	for _, pair := range pairs {
		file, address, _ := strings.Cut(pair, "=")
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		target, err := url.Parse(address)
		if err != nil || target.Host == "" {
			return nil, fmt.Errorf("%q is not FILE=URL", pair)
		}
		base := "/" + filepath.Base(filepath.Dir(file))
		apis = append(apis, apidoc.API{Document: text, Address: address, Base: base})
		routes.Handle(base+"/", http.StripPrefix(base, forward(target)))
	}
	files, err := apidoc.Files(title, apis...)
	if err != nil {
		return nil, err
	}
	for path, file := range files {
		routes.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", file.Type)
			w.Header().Set("Content-Security-Policy", apidoc.Policy)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.Body))
		})
	}
	routes.Handle("GET /{$}", http.RedirectHandler("/docs", http.StatusFound))
	return routes, nil
}

// forward passes requests on to a service. One that comes from a page elsewhere is
// refused: the services can't tell it from the reader's own.
func forward(target *url.URL) http.Handler {
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.RawQuery = r.In.URL.RawQuery // also what cannot be read: the service refuses it
			r.SetURL(target)
			r.Out.Header.Del("Origin")
			r.Out.Header.Del("Referer")
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			http.Error(w, "the service does not respond: "+err.Error(), http.StatusBadGateway)
		},
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo),
	}
	return http.NewCrossOriginProtection().Handler(proxy)
}
