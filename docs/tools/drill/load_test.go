package main

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// respond starts a PlatformService that responds as handle does.
func respond(t *testing.T, handle func(attempt int, key string, w http.ResponseWriter)) string {
	t.Helper()
	var mu sync.Mutex
	attempts := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		attempts++
		attempt := attempts
		mu.Unlock()
		handle(attempt, r.Header.Get("Idempotency-Key"), w)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// hangUp ends the connection without a response.
func hangUp(http.ResponseWriter) { panic(http.ErrAbortHandler) }

func postOnce(t *testing.T, cfg loadConfig) post {
	t.Helper()
	cfg.prefix, cfg.clients, cfg.total = "test", 1, 1
	l := startLoad(t.Context(), cfg)
	l.wait()
	posts := l.history()
	if len(posts) != 1 {
		t.Fatalf("got %d posts, want 1", len(posts))
	}
	return posts[0]
}

func TestLoadDerivesTheOutcomeFromTheResponse(t *testing.T) {
	tests := map[int]outcome{
		201: accepted, 400: refused, 409: refused, 422: refused, 429: refused, 503: refused,
		500: unknown, 502: unknown, 504: unknown, 200: unknown,
	}
	for status, want := range tests {
		url := respond(t, func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(status) })
		if p := postOnce(t, loadConfig{targets: []string{url}}); p.outcome != want || p.status != status {
			t.Errorf("%d: got outcome %d and status %d, want %d", status, p.outcome, p.status, want)
		}
	}
}

func TestAPostWithoutResponseHasAnUnknownOutcome(t *testing.T) {
	url := respond(t, func(_ int, _ string, w http.ResponseWriter) { hangUp(w) })
	p := postOnce(t, loadConfig{targets: []string{url}})
	if p.outcome != unknown || p.status != 0 || p.attempts != 1 || p.cutOff != 1 {
		t.Errorf("got %+v", p)
	}
}

func TestLoadRetriesTheUnknownWithTheSameKey(t *testing.T) {
	var keys []string
	url := respond(t, func(attempt int, key string, w http.ResponseWriter) {
		keys = append(keys, key)
		switch attempt {
		case 1:
			w.WriteHeader(http.StatusBadGateway)
		case 2:
			w.WriteHeader(http.StatusConflict) // the first is still in progress
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable) // says nothing about the first
		default:
			w.WriteHeader(http.StatusCreated)
		}
	})
	p := postOnce(t, loadConfig{targets: []string{url}, keys: true})
	if p.outcome != accepted || p.attempts != 4 {
		t.Errorf("got outcome %d after %d attempts, want accepted after 4", p.outcome, p.attempts)
	}
	for _, key := range keys {
		if key == "" || key != keys[0] {
			t.Errorf("got keys %q, want one and the same", keys)
		}
	}
}

func TestLoadAsksTheNextReplicaWhenOneDoesNotRespond(t *testing.T) {
	silent := respond(t, func(_ int, _ string, w http.ResponseWriter) { hangUp(w) })
	url := respond(t, func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) })
	p := postOnce(t, loadConfig{targets: []string{silent, url}, keys: true})
	if p.outcome != accepted {
		t.Errorf("got %+v", p)
	}
}

func TestLoadNamesEachPlatformOnce(t *testing.T) {
	url := respond(t, func(_ int, _ string, w http.ResponseWriter) { w.WriteHeader(http.StatusCreated) })
	l := startLoad(t.Context(), loadConfig{prefix: "test", targets: []string{url}, clients: 7, total: 100})
	l.wait()
	names := map[string]bool{}
	for _, p := range l.history() {
		names[p.name] = true
	}
	if len(names) != 100 {
		t.Errorf("got %d names, want 100", len(names))
	}
}
