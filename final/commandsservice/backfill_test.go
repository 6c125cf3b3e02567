package commandsservice

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testBackfill is a backfill that a test runs.
type testBackfill struct {
	*backfill
	log     *logCapture
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned
}

// startBackfill runs a backfill until the test ends, or stop is called.
func startBackfill(t *testing.T, target string, store commandStore) *testBackfill {
	t.Helper()
	log, logged := captureLog()
	ctx, cancel := context.WithCancel(context.Background())
	b := &testBackfill{backfill: newBackfill(newPlatformsClient(target), store, log), log: logged,
		stop: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(b.stopped)
		b.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, "the end of run", b.stopped)
	})
	return b
}

func (b *testBackfill) waitForRuns(t *testing.T, count int) {
	t.Helper()
	eventually(t, "a run that succeeds", func() bool { return len(b.log.lines("backfill done")) >= count })
}

// serving returns an answer of startPlatformServer.
func serving(platforms ...platform) func(context.Context, string, string) (string, error) {
	return func(context.Context, string, string) (string, error) { return encodePlatforms(platforms...), nil }
}

func TestBackfill(t *testing.T) {
	t.Run("stores what is missing and leaves the known alone", func(t *testing.T) {
		store := memoryStore(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "known"}, platform{ExternalID: 9, Name: "not there any more"})
		b := startBackfill(t, startPlatformServer(t, serving(
			platform{ExternalID: 4, Name: "renamed"}, platform{ExternalID: 7, Name: "missed"})), store)
		b.waitForRuns(t, 1)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{
			{ExternalID: 4, Name: "known"}, {ExternalID: 7, Name: "missed"}, {ExternalID: 9, Name: "not there any more"},
		}, platforms)
		assert.Len(t, b.log.lines("received=2 new=1"), 1)
	})

	t.Run("drops what no platform can be, and goes on", func(t *testing.T) {
		store := memoryStore(t)
		b := startBackfill(t, startPlatformServer(t, serving(platform{ExternalID: 0, Name: "x"}, platform{ExternalID: -1, Name: "x"},
			platform{ExternalID: 4, Name: " "}, platform{ExternalID: 5, Name: "good"})), store)
		b.waitForRuns(t, 1)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 5, Name: "good"}}, platforms)
		assert.Len(t, b.log.lines("backfill dropped"), 3)
	})

	t.Run("tries until the server is up, and then no more", func(t *testing.T) {
		store := memoryStore(t)
		proxy := newTCPProxy(t, startPlatformServer(t, serving(platform{ExternalID: 4, Name: "x"})))
		b := startBackfill(t, proxy.addr, store)
		eventually(t, "two tries", func() bool { return len(b.log.lines("backfill failed, will try again")) >= 2 })
		requirePlatforms(t, store, 0)
		proxy.restore()
		b.waitForRuns(t, 1)
		requirePlatforms(t, store, 1)
	})

	t.Run("tries again when it cannot store what came", func(t *testing.T) {
		store := memoryStore(t)
		require.NoError(t, store.close())
		b := startBackfill(t, startPlatformServer(t, serving(platform{ExternalID: 4, Name: "x"})), store)
		eventually(t, "two tries", func() bool { return len(b.log.lines("store what was received")) >= 2 })
	})

	t.Run("runs once more for all that ask during a run", func(t *testing.T) {
		calls, goOn := make(chan struct{}, 100), make(chan struct{})
		var count atomic.Int32
		b := startBackfill(t, startPlatformServer(t, func(ctx context.Context, _, _ string) (string, error) {
			count.Add(1)
			calls <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return "", nil
		}), memoryStore(t))
		receive(t, "the first run", calls)
		for range 3 {
			b.request()
		}
		close(goOn)
		b.waitForRuns(t, 2)
		assert.EqualValues(t, 2, count.Load())
		assert.Empty(t, b.requested)

		b.request()
		b.waitForRuns(t, 3)
		assert.EqualValues(t, 3, count.Load())
	})

	t.Run("ends with its context", func(t *testing.T) {
		t.Run("when there is nothing to do", func(t *testing.T) {
			noGoroutineLeft(t)
			b := startBackfill(t, startPlatformServer(t, serving()), memoryStore(t))
			b.waitForRuns(t, 1)
			b.stop()
			receive(t, "the end of run", b.stopped)
		})
		t.Run("between two tries", func(t *testing.T) {
			noGoroutineLeft(t)
			b := startBackfill(t, "127.0.0.1:1", memoryStore(t))
			eventually(t, "a try", func() bool { return len(b.log.lines("backfill failed")) > 0 })
			b.stop()
			receive(t, "the end of run", b.stopped)
		})
		t.Run("during a call", func(t *testing.T) {
			noGoroutineLeft(t)
			called := make(chan struct{}, 1)
			b := startBackfill(t, startPlatformServer(t, func(ctx context.Context, _, _ string) (string, error) {
				called <- struct{}{}
				<-ctx.Done() // the client hangs up
				return "", ctx.Err()
			}), memoryStore(t))
			receive(t, "the call", called)
			b.stop()
			receive(t, "the end of run", b.stopped)
			assert.Empty(t, b.log.lines("backfill failed"), "to stop is no failure")
		})
	})
}

func TestRunBackfills(t *testing.T) {
	t.Run("when PlatformService comes up later", func(t *testing.T) {
		proxy := newTCPProxy(t, startPlatformServer(t, serving(platform{ExternalID: 4, Name: "x"})))
		cfg := testConfig(t)
		cfg.GRPCTarget = proxy.addr
		service := startService(t, cfg)
		eventually(t, "a try", func() bool { return len(service.log.lines("backfill failed")) > 0 })
		requireJSON(t, service.get(t, "/api/c/platforms"), http.StatusOK, "[]")

		proxy.restore()
		eventually(t, "a run that succeeds", func() bool { return len(service.log.lines("backfill done")) > 0 })
		requireJSON(t, service.get(t, "/api/c/platforms"), http.StatusOK, `[{"id":4,"name":"x"}]`)
	})

	t.Run("what was published while the broker was away", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		var missed atomic.Bool
		cfg := testConfig(t)
		cfg.RabbitMQURL, cfg.Exchange = url, broker.exchange
		cfg.GRPCTarget = startPlatformServer(t, func(context.Context, string, string) (string, error) {
			if missed.Load() {
				return encodePlatforms(platform{ExternalID: 4, Name: "missed"}), nil
			}
			return "", nil
		})
		service := startService(t, cfg)
		eventually(t, "a connection", func() bool { return len(service.log.lines("subscriber connected")) == 1 })
		// The runs of the start, one or two, end before anything is missed.
		eventually(t, "a run that succeeds", func() bool { return len(service.log.lines("backfill done")) > 0 })

		proxy.cut()
		eventually(t, "the loss", func() bool { return len(service.log.lines("subscriber has no broker")) > 0 })
		missed.Store(true)
		proxy.restore()
		eventually(t, "the platform", func() bool { return len(service.log.lines("received=1 new=1")) == 1 })
		requireJSON(t, service.get(t, "/api/c/platforms"), http.StatusOK, `[{"id":4,"name":"missed"}]`)
	})
}
