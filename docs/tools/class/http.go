package main

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"mime"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/class"
)

//go:embed board.html board.css
var files embed.FS

// handler serves the board, takes reports, and serves the book in the folder of that
// name.
func handler(b *board, book string) http.Handler {
	page := template.Must(template.New("board.html").Funcs(template.FuncMap{"ago": ago(b.now)}).ParseFS(files, "board.html"))
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+class.Path, func(w http.ResponseWriter, r *http.Request) { take(b, w, r) })
	mux.HandleFunc("GET /class", func(w http.ResponseWriter, _ *http.Request) {
		people, stops := b.summary()
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		_ = page.Execute(w, map[string]any{"People": people, "Stops": stops[:min(len(stops), 20)]}) // the browser has gone
	})
	mux.HandleFunc("GET /class/board.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "board.css") })
	if _, err := os.Stat(filepath.Join(book, "index.html")); err == nil {
		mux.Handle("GET /", http.FileServer(http.Dir(book)))
	} else {
		mux.Handle("GET /{$}", http.RedirectHandler("/class", http.StatusFound))
	}
	return mux
}

// take takes a report. Only a program can send one: a page of another site may not
// send JSON without asking first, and it would get no permission.
func take(b *board, w http.ResponseWriter, r *http.Request) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		http.Error(w, "Content-Type: must be application/json", http.StatusUnsupportedMediaType)
		return
	}
	var report class.Report
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, class.MaxReport)).Decode(&report); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			http.Error(w, "the report is too large", http.StatusRequestEntityTooLarge)
			return
		}
		http.Error(w, "the body must be a report, as JSON", http.StatusBadRequest)
		return
	}
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	err := b.add(report, from)
	var fault invalid
	switch {
	case err == nil:
		w.WriteHeader(http.StatusNoContent)
	case errors.As(err, &fault):
		http.Error(w, fault.Error(), http.StatusBadRequest)
	case errors.Is(err, errFull):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	case errors.Is(err, errCrowd):
		http.Error(w, err.Error(), http.StatusTooManyRequests)
	default:
		fmt.Fprintln(os.Stderr, "class:", err)
		http.Error(w, "the board could not keep the report", http.StatusInternalServerError)
	}
}

// ago says how long ago a time was.
func ago(now func() time.Time) func(time.Time) string {
	return func(t time.Time) string {
		switch d := now().Sub(t); {
		case d < time.Minute:
			return "just now"
		case d < 2*time.Hour:
			return fmt.Sprintf("%d min", int(d.Minutes()))
		default:
			return fmt.Sprintf("%d h", int(d.Hours()))
		}
	}
}
