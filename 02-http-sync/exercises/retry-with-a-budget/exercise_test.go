//go:build exercise

package platformservice

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// retryTest is a PlatformService and, in the place of CommandsService, a peer
// that responds as the test says and notes when each call came.
type retryTest struct {
	service *testService
	mu      sync.Mutex
	calls   map[int][]time.Time // by platform
}

// startRetryTest starts both. respond gets the platform's id, and how many calls
// there have been for it, this one included.
func startRetryTest(t *testing.T, timeout string, respond func(w http.ResponseWriter, r *http.Request, id, call int)) *retryTest {
	t.Helper()
	s := &retryTest{calls: map[int][]time.Time{}}
	peer := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var platform struct{ ID int }
		_ = json.NewDecoder(r.Body).Decode(&platform)
		s.mu.Lock()
		s.calls[platform.ID] = append(s.calls[platform.ID], time.Now())
		call := len(s.calls[platform.ID])
		s.mu.Unlock()
		respond(w, r, platform.ID, call)
	}))
	cfg, err := configFrom(map[string]string{
		"PLATFORMS_HTTP_ADDR": "127.0.0.1:0", "SEED_DATA": "false",
		"COMMANDS_SERVICE_URL": peer, "COMMANDS_SERVICE_TIMEOUT": timeout,
	})
	require.NoError(t, err)
	s.service = startService(t, cfg)
	s.service.waitReady(t)
	return s
}

// post creates a platform, which must succeed, and returns how many calls came.
// The first platform has the id 1, the next one 2, and so on.
func (s *retryTest) post(t *testing.T, id int) (calls int) {
	t.Helper()
	r := send(t, "POST", s.service.url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
	require.Equal(t, http.StatusCreated, r.status, r.body)
	require.Contains(t, r.body, fmt.Sprintf(`"id":%d,`, id))
	return len(s.arrivals(id))
}

func (s *retryTest) arrivals(id int) []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls[id])
}

func unavailableOnce(w http.ResponseWriter, _ *http.Request, _, call int) {
	if call == 1 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func TestFailedCallIsRetried(t *testing.T) {
	s := startRetryTest(t, "10s", func(w http.ResponseWriter, r *http.Request, id, call int) {
		if id == 2 && call == 1 {
			panic(http.ErrAbortHandler) // hangs up without a response
		}
		unavailableOnce(w, r, id, call)
	})
	assert.Equal(t, 2, s.post(t, 1), "calls for a platform, the first of which gets a 503")
	assert.Equal(t, 2, s.post(t, 2), "calls for a platform, the first of which gets no response")
	assert.Len(t, s.service.log.lines("CommandsService notified"), 2)
	assert.Empty(t, s.service.log.lines("CommandsService not notified"), "a warning only when all attempts failed")
}

func TestOnlyWhatMayPassIsRetried(t *testing.T) {
	statuses := []int{503, 400, 404, 409, 415, 502, 504}
	s := startRetryTest(t, "10s", func(w http.ResponseWriter, _ *http.Request, id, call int) {
		if call == 1 {
			w.WriteHeader(statuses[id-1])
		}
	})
	for i, status := range statuses {
		want := 1 // the same request would get the same response
		if status >= 500 {
			want = 2
		}
		assert.Equal(t, want, s.post(t, i+1), "calls for a platform, the first of which gets a %d", status)
	}
}

// With a token budget the first POSTs to a peer that is down are retried, three
// times each, and the rest are not. What succeeds earns new tokens.
func TestRetriesHaveABudget(t *testing.T) {
	const down, up = 40, 10
	s := startRetryTest(t, "10s", func(w http.ResponseWriter, r *http.Request, id, call int) {
		if id <= down {
			w.WriteHeader(http.StatusServiceUnavailable)
		} else if id > down+up {
			unavailableOnce(w, r, id, call)
		}
	})
	require.Equal(t, 4, s.post(t, 1), "calls for the first platform while the peer is down: one, and three retries")
	retries := 3
	for id := 2; id <= down; id++ {
		retries += s.post(t, id) - 1
	}
	require.Equal(t, 10, retries, "retries in %d POSTs while the peer is down", down)
	assert.Len(t, s.service.log.lines("CommandsService not notified"), down, "each of these POSTs is logged once")

	for id := down + 1; id <= down+up; id++ {
		require.Equal(t, 1, s.post(t, id), "calls while the peer is up")
	}
	assert.Equal(t, 2, s.post(t, down+up+1), "calls after %d successes: a tenth of a token each makes one retry", up)
	assert.Equal(t, 1, s.post(t, down+up+2), "calls for the next platform: that token is spent")
}

// A long time without failures fills the budget, and no more than that: when the
// peer goes down, there are ten retries, not hundreds.
func TestTheBudgetHoldsTenAtMost(t *testing.T) {
	const up, down = 150, 20
	s := startRetryTest(t, "10s", func(w http.ResponseWriter, _ *http.Request, id, _ int) {
		if id > up {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	for id := 1; id <= up; id++ {
		require.Equal(t, 1, s.post(t, id), "calls while the peer is up")
	}
	retries := 0
	for id := up + 1; id <= up+down; id++ {
		retries += s.post(t, id) - 1
	}
	require.Equal(t, 10, retries, "retries in %d POSTs, after %d that succeeded", down, up)
}

// COMMANDS_SERVICE_TIMEOUT bounds the attempts together, not each of them. Here the
// second one uses up what is left.
func TestRetriesShareTheTime(t *testing.T) {
	s := startRetryTest(t, "5s", func(w http.ResponseWriter, r *http.Request, _, call int) {
		if call == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		<-r.Context().Done() // until the service gives up
	})
	assert.Equal(t, 2, s.post(t, 1), "calls for a platform, the second of which gets no response in time")
	assert.Len(t, s.service.log.lines("CommandsService not notified"), 1)
}

// A machine that is busy makes a pause longer, never shorter. So the shortest ones
// are compared, of services that run one after the other.
func TestPausesGrowAndVary(t *testing.T) {
	var first, third []time.Duration
	for i := range 8 {
		t.Run(fmt.Sprint("service ", i), func(t *testing.T) {
			s := startRetryTest(t, "10s", func(w http.ResponseWriter, _ *http.Request, _, call int) {
				if call <= 3 {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			if s.post(t, 1) != 4 {
				return // the count below says so once for all
			}
			at := s.arrivals(1)
			first, third = append(first, at[1].Sub(at[0])), append(third, at[3].Sub(at[2]))
		})
	}
	require.Len(t, third, 8, "services, of 8, that made three retries and then succeeded")
	assert.Greater(t, slices.Min(third), slices.Min(first)*3/2, "the third pauses should be longer than the first ones: %v, %v", third, first)
	assert.Greater(t, slices.Max(third)-slices.Min(third), slices.Min(third)/20, "the third pauses of 8 services should differ: %v", third)
}

// While one POST is in its second attempt, others go their way.
func TestOthersDoNotWaitForARetry(t *testing.T) {
	second, release := make(chan struct{}, 1), make(chan struct{})
	s := startRetryTest(t, "20s", func(w http.ResponseWriter, r *http.Request, id, call int) {
		if id == 1 && call == 2 {
			second <- struct{}{}
			select {
			case <-release:
			case <-r.Context().Done():
			}
			return
		}
		if id == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	defer close(release)
	post := func() <-chan int { // posts in the background; the status comes, or 0
		done := make(chan int, 1)
		go func() {
			body := strings.NewReader(`{"name":"x","publisher":"p","cost":"1"}`)
			response, err := http.Post(s.service.url+"/api/platforms", "application/json", body)
			if err != nil {
				done <- 0
				return
			}
			response.Body.Close()
			done <- response.StatusCode
		}()
		return done
	}
	one := post()
	select {
	case <-second:
	case <-one:
		require.FailNow(t, "the first POST ended without a retry")
	case <-time.After(patience):
		require.FailNow(t, "the call was not retried")
	}
	select {
	case status := <-post():
		assert.Equal(t, http.StatusCreated, status)
	case <-time.After(patience / 4):
		require.FailNow(t, "the second POST waits for the first: is something locked during an attempt or a pause?")
	}
}
