package platformservice

import (
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLimitInFlight(t *testing.T) {
	const limit = 2
	entered, release := make(chan struct{}), make(chan struct{})
	url := serve(t, limitInFlight(limit, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/wait":
			entered <- struct{}{}
			<-release
		case "/abort":
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusNoContent)
	})))

	for range limit { // a handler that panics gives its place back too
		_, err := http.Get(url + "/abort")
		require.Error(t, err)
	}

	var waiting sync.WaitGroup
	for range limit {
		waiting.Go(func() { assert.Equal(t, http.StatusNoContent, send(t, "GET", url+"/wait", "").status) })
		receive(t, "a request in flight", entered)
	}
	for range 3 {
		r := send(t, "GET", url, "")
		requireProblem(t, r, http.StatusServiceUnavailable)
		assert.Equal(t, "1", r.header.Get("Retry-After"))
	}
	close(release)
	waiting.Wait()
	assert.Equal(t, http.StatusNoContent, send(t, "GET", url, "").status)
}
