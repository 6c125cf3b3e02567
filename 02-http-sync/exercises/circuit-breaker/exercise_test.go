//go:build exercise

package platformservice

import (
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// breakerTest is a PlatformService and, in the place of CommandsService, a peer
// that counts the calls.
type breakerTest struct {
	service *testService
	calls   atomic.Int32
	respond atomic.Value // func(http.ResponseWriter, *http.Request)
}

// startBreakerTest starts both. The breaker stays open for pause.
func startBreakerTest(t *testing.T, timeout, pause string) *breakerTest {
	t.Helper()
	s := &breakerTest{}
	s.respondWith(http.StatusOK)
	peer := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		s.calls.Add(1)
		s.respond.Load().(func(http.ResponseWriter, *http.Request))(w, r)
	}))
	cfg, err := configFrom(map[string]string{
		"PLATFORMS_HTTP_ADDR": "127.0.0.1:0", "SEED_DATA": "false", "COMMANDS_SERVICE_URL": peer,
		"COMMANDS_SERVICE_TIMEOUT": timeout, "COMMANDS_BREAKER_PAUSE": pause,
	})
	require.NoError(t, err)
	s.service = startService(t, cfg)
	s.service.waitReady(t)
	return s
}

// respondWith sets the status of all responses to come.
func (s *breakerTest) respondWith(status int) {
	s.respond.Store(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
}

// post creates n platforms, which must succeed and not take long, and returns how
// many calls that made.
func (s *breakerTest) post(t *testing.T, n int) (calls int) {
	t.Helper()
	before := s.calls.Load()
	for range n {
		client := &http.Client{Timeout: patience / 4}
		body := strings.NewReader(`{"name":"x","publisher":"p","cost":"1"}`)
		response, err := client.Post(s.service.url+"/api/platforms", "application/json", body)
		require.NoError(t, err, "a POST waits for something")
		response.Body.Close()
		require.Equal(t, http.StatusCreated, response.StatusCode)
	}
	return int(s.calls.Load() - before)
}

func TestBreakerOpensAfterFiveFailures(t *testing.T) {
	for what, respond := range map[string]func(http.ResponseWriter, *http.Request){
		"a peer that returns 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"a peer that hangs up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(what, func(t *testing.T) {
			s := startBreakerTest(t, "10s", "1h")
			s.respond.Store(respond)
			assert.Equal(t, 5, s.post(t, 20), "calls of 20 POSTs")
			assert.Len(t, s.service.log.lines("CommandsService not notified"), 20, "each POST is logged")
		})
	}

	t.Run("a peer that does not respond", func(t *testing.T) {
		s := startBreakerTest(t, "200ms", "1h")
		s.respond.Store(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		// Fewer than 5 arrive when the time is over before one has been received.
		assert.LessOrEqual(t, s.post(t, 20), 5, "calls of 20 POSTs")
		assert.Len(t, s.service.log.lines("CommandsService not notified"), 20, "each POST is logged")
	})
}

func TestOnlyFailuresInARowOpenIt(t *testing.T) {
	s := startBreakerTest(t, "10s", "1h")
	s.respondWith(http.StatusBadRequest)
	require.Equal(t, 10, s.post(t, 10), "calls of 10 POSTs: a peer that returns 400 is well")
	for _, success := range []int{http.StatusOK, http.StatusBadRequest, http.StatusNotFound, http.StatusOK} {
		s.respondWith(http.StatusServiceUnavailable)
		require.Equal(t, 4, s.post(t, 4), "calls of 4 POSTs: 4 failures do not open it")
		s.respondWith(success)
		require.Equal(t, 1, s.post(t, 1), "a %d is a success: the count begins again", success)
	}
	s.respondWith(http.StatusServiceUnavailable)
	require.Equal(t, 5, s.post(t, 5))
	assert.Equal(t, 0, s.post(t, 5), "calls after 5 failures in a row")
}

// After the pause one POST makes a call, the probe. Until its response the others
// make none, and do not wait for it either.
func TestOneProbeCloses(t *testing.T) {
	s := startBreakerTest(t, "20s", "50ms")
	s.respondWith(http.StatusServiceUnavailable)
	s.post(t, 5)

	probe, release := make(chan struct{}), make(chan struct{})
	finish := sync.OnceFunc(func() { close(release) })
	defer finish()
	var probed atomic.Bool
	s.respond.Store(func(_ http.ResponseWriter, r *http.Request) {
		if probed.Swap(true) {
			return
		}
		close(probe)
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	posting := make(chan struct{})
	go func() { // POSTs until one of them is the probe
		defer close(posting)
		for {
			select {
			case <-probe:
				return
			case <-t.Context().Done():
				return
			default:
				send(t, "POST", s.service.url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
			}
		}
	}()
	receive(t, "the probe, a call after the pause", probe)
	require.Equal(t, 0, s.post(t, 10), "calls of 10 POSTs during the probe")

	finish()
	receive(t, "the end of the POST with the probe", posting)
	assert.Equal(t, 10, s.post(t, 10), "calls of 10 POSTs after the probe succeeded")
}

func TestFailedProbeOpensItAgain(t *testing.T) {
	s := startBreakerTest(t, "10s", "1s")
	s.respondWith(http.StatusServiceUnavailable)
	s.post(t, 5)
	eventually(t, "the probe", func() bool { return s.post(t, 1) == 1 })
	// One for each pause that ends meanwhile, as on a slow machine.
	assert.LessOrEqual(t, s.post(t, 5), 3, "calls of 5 POSTs after the probe failed")

	s.respondWith(http.StatusOK)
	eventually(t, "another probe", func() bool { return s.post(t, 1) == 1 })
	assert.Equal(t, 5, s.post(t, 5), "calls of 5 POSTs after a probe succeeded")
}

func TestAProbeIsJudgedLikeAnyCall(t *testing.T) {
	s := startBreakerTest(t, "10s", "1s")
	s.respondWith(http.StatusServiceUnavailable)
	s.post(t, 5)
	require.LessOrEqual(t, s.post(t, 5), 3, "calls of 5 POSTs after 5 failures") // one for each pause that ends meanwhile
	for range 2 {
		s.respond.Store(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		eventually(t, "a probe, which gets no response", func() bool { return s.post(t, 1) == 1 })
	}
	s.respondWith(http.StatusNotFound)
	eventually(t, "a probe, which gets a 404", func() bool { return s.post(t, 1) == 1 })
	assert.Equal(t, 5, s.post(t, 5), "calls of 5 POSTs after it: a peer that returns a 404 is well")
}

// Two calls begin while the breaker is closed, and end during the probe: one fails
// and one succeeds. Neither is the probe.
func TestALateResultIsNotTheProbes(t *testing.T) {
	s := startBreakerTest(t, "20s", "50ms")
	type held struct{ status chan int }
	calls := make(chan held, 10)
	hold := func(w http.ResponseWriter, r *http.Request) {
		call := held{make(chan int, 1)}
		calls <- call
		select {
		case status := <-call.status:
			w.WriteHeader(status)
		case <-r.Context().Done():
		}
	}
	posted := make(chan struct{}, 10)
	post := func() {
		client := &http.Client{Timeout: patience}
		body := strings.NewReader(`{"name":"x","publisher":"p","cost":"1"}`)
		if response, err := client.Post(s.service.url+"/api/platforms", "application/json", body); err == nil {
			response.Body.Close()
		}
		posted <- struct{}{}
	}
	s.respond.Store(hold)
	var late []held
	for range 2 {
		go post()
		late = append(late, receive(t, "a call while the breaker is closed", calls))
	}
	s.respondWith(http.StatusServiceUnavailable)
	s.post(t, 5)
	s.respond.Store(hold)
	var probe held
	eventually(t, "the probe, a call after the pause", func() bool {
		before := s.calls.Load()
		go post()
		select {
		case probe = <-calls:
			return true
		case <-posted:
			return s.calls.Load() > before
		}
	})
	s.respondWith(http.StatusServiceUnavailable) // at once, to a call that should not be made
	for i, status := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		late[i].status <- status
		receive(t, "the end of a POST from before", posted)
		made := 0
		for over := time.Now().Add(150 * time.Millisecond); time.Now().Before(over); { // three pauses
			made += s.post(t, 1)
		}
		require.Equal(t, 0, made, "calls during the probe, after a call from before got a %d", status)
	}
	s.respondWith(http.StatusOK)
	probe.status <- http.StatusOK
	receive(t, "the end of the POST with the probe", posted)
	assert.Equal(t, 5, s.post(t, 5), "calls of 5 POSTs after the probe succeeded")
}

func TestBreakerPauseIsASetting(t *testing.T) {
	for _, value := range []string{"", "5", "-1s", "soon"} {
		_, err := configFrom(map[string]string{"COMMANDS_BREAKER_PAUSE": value})
		require.ErrorContains(t, err, "COMMANDS_BREAKER_PAUSE", "the value %q", value)
	}
	_, err := configFrom(map[string]string{"COMMANDS_BREAKER_PAUSE": "1m"})
	assert.NoError(t, err)
}
