package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"
)

// CommandsService is down for a while. One platform is accepted before the watcher
// notices, another one afterwards.
func TestArrivalDuringAGapIsNotTimed(t *testing.T) {
	var list atomic.Value
	list.Store("[]")
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer asked.Add(1)
		text := list.Load().(string)
		if text == "" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		fmt.Fprint(w, text)
	}))
	defer server.Close()
	watched := watchArrivals(t.Context(), newClient(nil), []*service{{url: server.URL}})
	defer watched.stop()
	responds := func() { // waits for at least two responses, of which the last began after the call
		t.Helper()
		for from := asked.Load(); asked.Load() < from+3; {
			select {
			case <-time.After(time.Millisecond):
			case <-t.Context().Done():
				t.Fatal(t.Context().Err())
			}
		}
	}
	responds()
	list.Store("")
	early := post{name: "early", outcome: accepted, done: time.Now()}
	responds()
	late := post{name: "late", outcome: accepted, done: time.Now()}
	responds()
	list.Store(`[{"id": 1, "name": "early"}, {"id": 2, "name": "late"}]`)
	responds()

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
