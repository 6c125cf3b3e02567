//go:build exercise

package platformservice

import (
	"fmt"
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

// maxCallsInTest is the COMMANDS_MAX_CALLS of these tests.
const maxCallsInTest = 3

// bulkheadTest is a PlatformService and, in the place of CommandsService, a peer
// that holds the first calls until the test releases them, and responds to all
// later ones at once.
type bulkheadTest struct {
	service  *testService
	calls    atomic.Int32
	held     chan struct{} // one for each call that is held
	release  func()
	statuses chan int // of the POSTs sent in the background
}

func startBulkheadTest(t *testing.T, finish http.HandlerFunc) *bulkheadTest {
	t.Helper()
	release := make(chan struct{})
	s := &bulkheadTest{
		held:     make(chan struct{}, maxCallsInTest),
		release:  sync.OnceFunc(func() { close(release) }),
		statuses: make(chan int, maxCallsInTest),
	}
	peer := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if s.calls.Add(1) > maxCallsInTest {
			return
		}
		s.held <- struct{}{}
		select {
		case <-release:
			finish(w, r)
		case <-r.Context().Done():
		}
	}))
	cfg, err := configFrom(map[string]string{
		"PLATFORMS_HTTP_ADDR": "127.0.0.1:0", "SEED_DATA": "false", "COMMANDS_SERVICE_URL": peer,
		"COMMANDS_SERVICE_TIMEOUT": "20s", "COMMANDS_MAX_CALLS": fmt.Sprint(maxCallsInTest),
	})
	require.NoError(t, err)
	s.service = startService(t, cfg)
	t.Cleanup(s.release) // before the service is stopped, which waits for its requests
	s.service.waitReady(t)
	return s
}

// soon is how long a request may take that waits for nothing.
const soon = patience / 4

// request returns the status of a request, or 0 when no response comes in time.
func (s *bulkheadTest) request(limit time.Duration, method, path, body string) int {
	client := &http.Client{Timeout: limit}
	request, err := http.NewRequest(method, s.service.url+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return 0
	}
	response.Body.Close()
	return response.StatusCode
}

func (s *bulkheadTest) post(limit time.Duration) int {
	return s.request(limit, "POST", "/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
}

// fill sends as many POSTs as there may be calls, and returns when the peer holds them.
func (s *bulkheadTest) fill(t *testing.T) {
	t.Helper()
	for range maxCallsInTest {
		go func() { s.statuses <- s.post(patience) }()
		receive(t, "a call at the peer", s.held)
	}
}

// drain lets the peer finish these, and returns when the POSTs have their responses.
func (s *bulkheadTest) drain(t *testing.T) {
	t.Helper()
	s.release()
	for range maxCallsInTest {
		require.Equal(t, http.StatusCreated, receive(t, "the response to a POST", s.statuses))
	}
}

func TestASlowPeerHoldsUpNobodyElse(t *testing.T) {
	s := startBulkheadTest(t, func(http.ResponseWriter, *http.Request) {})
	s.fill(t)
	for range 10 {
		require.Equal(t, http.StatusCreated, s.post(soon), "a POST while the peer is slow: stored, and so a 201 without waiting")
		require.Equal(t, http.StatusOK, s.request(soon, "GET", "/api/platforms", ""), "a GET while the peer is slow")
	}
	assert.EqualValues(t, maxCallsInTest, s.calls.Load(), "calls at the peer at once")
	s.drain(t)
	list := send(t, "GET", s.service.url+"/api/platforms", "").body
	assert.Equal(t, maxCallsInTest+10, strings.Count(list, `"id":`), "every platform is stored")
}

// A POST that finds no place does not wait for one, not even for a moment: here
// they become free as soon as its platform is stored, and that is too late for it.
func TestAPostDoesNotWaitForAPlace(t *testing.T) {
	for range 5 { // a slow machine may be late once
		s := startBulkheadTest(t, func(http.ResponseWriter, *http.Request) {})
		s.fill(t)
		go func() { s.statuses <- s.post(patience) }()
		eventually(t, "the platform of another POST", func() bool {
			return strings.Count(send(t, "GET", s.service.url+"/api/platforms", "").body, `"id":`) == maxCallsInTest+1
		})
		s.drain(t)
		require.Equal(t, http.StatusCreated, receive(t, "the response to another POST", s.statuses))
		if len(s.service.log.lines(`msg="CommandsService not notified"`)) == 1 {
			return
		}
	}
	require.FailNow(t, "each of 5 POSTs that found all places taken made its call anyway, once a place was free")
}

func TestACallThatIsNotMadeIsLogged(t *testing.T) {
	s := startBulkheadTest(t, func(http.ResponseWriter, *http.Request) {})
	s.fill(t)
	require.Equal(t, http.StatusCreated, s.post(soon))
	require.Equal(t, http.StatusCreated, s.post(soon))
	for _, id := range []int{maxCallsInTest + 1, maxCallsInTest + 2} {
		line := fmt.Sprintf(`level=WARN msg="CommandsService not notified" id=%d`, id)
		assert.Len(t, s.service.log.lines(line), 1, "lines like this in the log: %s", line)
	}
	s.drain(t)
	assert.Len(t, s.service.log.lines(`msg="CommandsService notified"`), maxCallsInTest, "the calls that were made")
}

// However a call ends, its place is free afterwards.
func TestThePlacesAreFreeAgain(t *testing.T) {
	for what, finish := range map[string]http.HandlerFunc{
		"succeed":         func(http.ResponseWriter, *http.Request) {},
		"return 500":      func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"get no response": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run("after calls that "+what, func(t *testing.T) {
			s := startBulkheadTest(t, finish)
			s.fill(t)
			require.Equal(t, http.StatusCreated, s.post(soon))
			require.EqualValues(t, maxCallsInTest, s.calls.Load(), "calls at the peer at once")
			s.drain(t)
			for range 2 * maxCallsInTest {
				require.Equal(t, http.StatusCreated, s.post(soon))
			}
			assert.EqualValues(t, 3*maxCallsInTest, s.calls.Load(), "all later POSTs make their calls")
		})
	}
}

func TestMaxCallsIsASetting(t *testing.T) {
	for _, value := range []string{"", "0", "-1", "1.5", "many"} {
		_, err := configFrom(map[string]string{"COMMANDS_MAX_CALLS": value})
		require.ErrorContains(t, err, "COMMANDS_MAX_CALLS", "the value %q", value)
	}
	_, err := configFrom(map[string]string{"COMMANDS_MAX_CALLS": "1"})
	assert.NoError(t, err)
}
