package commandsservice

import (
	"context"
	"database/sql"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
	b := &testBackfill{backfill: newBackfill(&platformsClient{target: target}, store, log), log: logged,
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

func TestBackfill(t *testing.T) {
	t.Run("stores what is missing and leaves the known alone", func(t *testing.T) {
		store := memoryStore(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "known"}, platform{ExternalID: 9, Name: "not there any more"})
		b := startBackfill(t, startPlatformServer(t, having(
			platform{ExternalID: 4, Name: "renamed"}, platform{ExternalID: 7, Name: "missed"})), store)
		b.waitForRuns(t, 1)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{
			{ExternalID: 4, Name: "known"}, {ExternalID: 7, Name: "missed"}, {ExternalID: 9, Name: "not there any more"},
		}, platforms)
		assert.Len(t, b.log.lines("received=2 new=1"), 1)
	})

	t.Run("drops what is not a valid platform, and continues", func(t *testing.T) {
		store := memoryStore(t)
		b := startBackfill(t, startPlatformServer(t, having(platform{ExternalID: 0, Name: "x"}, platform{ExternalID: -1, Name: "x"},
			platform{ExternalID: 4, Name: " "}, platform{ExternalID: 6, Name: strings.Repeat("x", 501)}, platform{ExternalID: 5, Name: "good"})), store)
		b.waitForRuns(t, 1)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 5, Name: "good"}}, platforms)
		assert.Len(t, b.log.lines("backfill dropped"), 4)
	})

	t.Run("retries until the server is up", func(t *testing.T) {
		store := memoryStore(t)
		proxy := newTCPProxy(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})))
		b := startBackfill(t, proxy.addr, store)
		eventually(t, "two attempts", func() bool { return len(b.log.lines("backfill failed, retrying")) >= 2 })
		requirePlatforms(t, store, 0)
		proxy.restore()
		b.waitForRuns(t, 1)
		requirePlatforms(t, store, 1)
	})

	t.Run("retries when it cannot store the response", func(t *testing.T) {
		store := memoryStore(t)
		require.NoError(t, store.close())
		b := startBackfill(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})), store)
		eventually(t, "two attempts", func() bool { return len(b.log.lines("store the response")) >= 2 })
	})

	for code, advice := range map[codes.Code]string{
		codes.ResourceExhausted: "4 MiB",
		codes.Unimplemented:     "PLATFORMS_GRPC_TARGET",
	} {
		t.Run(code.String()+" is an error that says what to do, and not one to retry at once", func(t *testing.T) {
			var calls atomic.Int32
			b := startBackfill(t, startPlatformServer(t, func(context.Context) ([]platform, error) {
				calls.Add(1)
				return nil, status.Error(code, "no")
			}), memoryStore(t))
			eventually(t, "the error", func() bool { return len(b.log.lines("level=ERROR")) == 1 })
			assert.Contains(t, b.log.lines("level=ERROR")[0], advice)

			// Meanwhile another backfill, which pauses for milliseconds, makes several attempts.
			other := startBackfill(t, "127.0.0.1:1", memoryStore(t))
			eventually(t, "three attempts of another", func() bool { return len(other.log.lines("backfill failed, retrying")) >= 3 })
			assert.EqualValues(t, 1, calls.Load())
		})
	}

	t.Run("runs once more for all that ask during a run", func(t *testing.T) {
		calls, goOn := make(chan struct{}, 100), make(chan struct{})
		var count atomic.Int32
		b := startBackfill(t, startPlatformServer(t, func(ctx context.Context) ([]platform, error) {
			count.Add(1)
			calls <- struct{}{}
			select {
			case <-goOn:
			case <-ctx.Done():
			}
			return nil, nil
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

	t.Run("stops when its context ends", func(t *testing.T) {
		t.Run("when there is nothing to do", func(t *testing.T) {
			noGoroutineLeft(t)
			b := startBackfill(t, startPlatformServer(t, having()), memoryStore(t))
			b.waitForRuns(t, 1)
			b.stop()
			receive(t, "the end of run", b.stopped)
		})
		t.Run("between two attempts", func(t *testing.T) {
			noGoroutineLeft(t)
			b := startBackfill(t, "127.0.0.1:1", memoryStore(t))
			eventually(t, "an attempt", func() bool { return len(b.log.lines("backfill failed")) > 0 })
			b.stop()
			receive(t, "the end of run", b.stopped)
		})
		t.Run("during a call", func(t *testing.T) {
			noGoroutineLeft(t)
			called := make(chan struct{}, 1)
			b := startBackfill(t, startPlatformServer(t, func(ctx context.Context) ([]platform, error) {
				called <- struct{}{}
				<-ctx.Done() // the client hangs up
				return nil, ctx.Err()
			}), memoryStore(t))
			receive(t, "the call", called)
			b.stop()
			receive(t, "the end of run", b.stopped)
			assert.Empty(t, b.log.lines("backfill failed"), "stopping is no failure")
		})
	})
}

func TestRunBackfills(t *testing.T) {
	t.Run("when PlatformService comes up later", func(t *testing.T) {
		proxy := newTCPProxy(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})))
		cfg := testConfig(t)
		cfg.GRPCTarget = proxy.addr
		service := startService(t, cfg)
		service.waitReady(t)
		eventually(t, "an attempt", func() bool { return len(service.log.lines("backfill failed")) > 0 })
		requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, "[]")

		proxy.restore()
		eventually(t, "a run that succeeds", func() bool { return len(service.log.lines("backfill done")) > 0 })
		requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
	})

	t.Run("what was published while the broker was down", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		var missed atomic.Bool
		cfg := testConfig(t)
		cfg.RabbitMQURL, cfg.Exchange = url, broker.exchange
		cfg.GRPCTarget = startPlatformServer(t, func(context.Context) ([]platform, error) {
			if missed.Load() {
				return []platform{{ExternalID: 4, Name: "missed"}}, nil
			}
			return nil, nil
		})
		service := startService(t, cfg)
		service.waitReady(t)
		eventually(t, "a connection", func() bool { return len(service.log.lines("subscriber connected")) == 1 })
		// The runs of the start, one or two, end before anything is missed.
		eventually(t, "a run that succeeds", func() bool { return len(service.log.lines("backfill done")) > 0 })

		proxy.cut()
		eventually(t, "the loss", func() bool { return len(service.log.lines("subscriber not connected")) > 0 })
		missed.Store(true)
		proxy.restore()
		eventually(t, "the platform", func() bool { return len(service.log.lines("received=1 new=1")) == 1 })
		requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"missed"}]`)
	})

	t.Run("the platform of an event that could not be stored", func(t *testing.T) {
		broker := newTestBroker(t)
		cfg := testConfig(t)
		cfg.RabbitMQURL, cfg.Exchange = broker.url, broker.exchange
		cfg.GRPCTarget = startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"}))
		service := startService(t, cfg)
		service.waitReady(t)
		eventually(t, "a connection", func() bool { return len(service.log.lines("subscriber connected")) == 1 })
		eventually(t, "a run that succeeds", func() bool { return len(service.log.lines("backfill done")) > 0 })

		// For now, the database refuses this row.
		db, err := sql.Open("sqlite3", strings.TrimPrefix(cfg.DatabaseURL, "sqlite:"))
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec(`DELETE FROM platforms; CREATE TRIGGER refuse BEFORE INSERT ON platforms BEGIN SELECT RAISE(ABORT, 'refused'); END`)
		require.NoError(t, err)
		require.True(t, broker.publish(t, recordedEvent))
		eventually(t, "the loss", func() bool { return len(service.log.lines("event lost")) == 1 })
		_, err = db.Exec(`DROP TRIGGER refuse`)
		require.NoError(t, err)
		eventually(t, "the platforms", func() bool {
			return send(t, "GET", service.url+"/api/c/platforms/4/commands", "").status == http.StatusOK
		})
	})
}
