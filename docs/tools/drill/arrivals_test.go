package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// CommandsService is down for a while. One platform is accepted before the watcher
// notices, another one afterwards.
func TestArrivalDuringAGapIsNotTimed(t *testing.T) {
	responses := make(chan string) // the server sends one when the test does; "" stands for a 503
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case text := <-responses:
			if text == "" {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			fmt.Fprint(w, text)
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	watched := watchArrivals(t.Context(), newClient(nil), []*service{{url: server.URL}})
	defer watched.stop()
	// The watcher asks again only when it has noted a response.
	answer := func(text string) {
		t.Helper()
		select {
		case responses <- text:
		case <-time.After(time.Minute):
			t.Fatal("the watcher does not ask")
		}
	}
	answer("[]")
	early := post{name: "early", outcome: accepted, done: time.Now()}
	answer("")
	answer("")
	late := post{name: "late", outcome: accepted, done: time.Now()}
	answer("")
	answer(`[{"id": 1, "name": "early"}, {"id": 2, "name": "late"}]`)
	answer("[]")

	var h history
	h.posts = []post{early, late}
	h.arrived, h.gaps = watched.seen()
	if len(h.arrived) != 2 || len(h.gaps) != 1 {
		t.Fatalf("%d arrived, %d gaps", len(h.arrived), len(h.gaps))
	}
	if v := judge(h); v.arrival.n != 1 || v.arrival.max != h.arrived["late"].Sub(late.done) {
		t.Errorf("%d arrivals, at most %s; want late's alone, %s", v.arrival.n, v.arrival.max, h.arrived["late"].Sub(late.done))
	}
}
