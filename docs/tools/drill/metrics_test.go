package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A drill may end before the sampler's second turn.
func TestSamplerTakesALastSample(t *testing.T) {
	asked := make(chan struct{}, 1000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if len(asked) == 0 { // not up yet
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		asked <- struct{}{}
		_, _ = io.WriteString(w, "process_resident_memory_bytes 4096\ngo_goroutines 7\n")
	}))
	defer server.Close()
	m := sample(t.Context(), newClient(nil), &service{url: server.URL})
	<-asked
	asked <- struct{}{}
	m.stop()
	if m.samples == 0 || m.first != (resources{memory: 4096, goroutines: 7}) {
		t.Errorf("%d samples, the first is %+v", m.samples, m.first)
	}
}
