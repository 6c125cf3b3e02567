package commandsservice

import (
	"context"
	"database/sql"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/testkit"
)

// testBackfill is a backfill that a test runs.
type testBackfill struct {
	*backfill
	log     *testkit.LogCapture
	stop    context.CancelFunc
	stopped chan struct{} // closed when run has returned
}

// startBackfill runs a backfill until the test ends, or stop is called.
func startBackfill(t *testing.T, target string, store commandStore) *testBackfill {
	t.Helper()
	return startBackfillWithin(t, target, store, testkit.Patience)
}

// startBackfillWithin is startBackfill with a readyTimeout.
func startBackfillWithin(t *testing.T, target string, store commandStore, readyTimeout time.Duration) *testBackfill {
	t.Helper()
	log, logged := testkit.CaptureLog()
	ctx, cancel := context.WithCancel(context.Background())
	metrics := newBackfillMetrics(prometheus.NewRegistry())
	b := &testBackfill{backfill: newBackfill(testPlatformsClient(target), store, readyTimeout, metrics, log), log: logged,
		stop: cancel, stopped: make(chan struct{})}
	b.progressInterval = 0 // logs each batch
	go func() {
		defer close(b.stopped)
		b.run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Receive(t, "the end of run", b.stopped)
	})
	return b
}

func (b *testBackfill) waitForRuns(t *testing.T, count int) {
	t.Helper()
	testkit.Eventually(t, "a run that succeeds", func() bool { return len(b.log.Lines("backfill done")) >= count })
}

// requireMetrics requires these values of the metrics.
func (b *testBackfill) requireMetrics(t *testing.T, succeeded, failed, stored, known int) {
	t.Helper()
	assert.EqualValues(t, succeeded, testutil.ToFloat64(b.metrics.runs.WithLabelValues("succeeded")), "succeeded")
	assert.EqualValues(t, failed, testutil.ToFloat64(b.metrics.runs.WithLabelValues("failed")), "failed")
	assert.EqualValues(t, stored, testutil.ToFloat64(b.metrics.platforms.WithLabelValues("stored")), "stored")
	assert.EqualValues(t, known, testutil.ToFloat64(b.metrics.platforms.WithLabelValues("known")), "known")
}

func TestBackfill(t *testing.T) {
	t.Run("stores missing platforms, and adopts PlatformService's names", func(t *testing.T) {
		store := memoryStore(t)
		addPlatforms(t, store, platform{ExternalID: 3, Name: "the same"}, platform{ExternalID: 4, Name: "old"}, platform{ExternalID: 9, Name: "not there any more"})
		b := startBackfill(t, startPlatformServer(t, having(platform{ExternalID: 3, Name: "the same"},
			platform{ExternalID: 4, Name: "renamed"}, platform{ExternalID: 7, Name: "missed"})), store)
		b.waitForRuns(t, 1)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 3, Name: "the same"},
			{ExternalID: 4, Name: "renamed"}, {ExternalID: 7, Name: "missed"}, {ExternalID: 9, Name: "not there any more"},
		}, platforms)
		assert.Len(t, b.log.Lines(`"backfill done" received=3 new=2`), 1)
		b.requireMetrics(t, 1, 0, 2, 1)
	})

	t.Run("asks a server that cannot stream for all platforms", func(t *testing.T) {
		store := memoryStore(t)
		b := startBackfill(t, startOldPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})), store)
		b.waitForRuns(t, 1)
		requirePlatforms(t, store, 1)
		b.requireMetrics(t, 1, 0, 1, 0)
	})

	t.Run("stores many, and logs how far it is", func(t *testing.T) {
		const count = 100_000
		store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "commands.db"))
		b := startBackfill(t, startPlatformServer(t, having(numbered(1, count)...)), store)
		for batches := 10; batches <= count/batchSize; batches += 10 { // patience is for each of these
			testkit.Eventually(t, "progress", func() bool { return len(b.log.Lines("backfill in progress")) >= batches })
		}
		b.waitForRuns(t, 1)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.True(t, slices.Equal(numbered(1, count), platforms))
		assert.Len(t, b.log.Lines("backfill in progress"), count/batchSize)
		assert.Len(t, b.log.Lines("received=5000 new=5000 after=5000"), 1)
		b.requireMetrics(t, 1, 0, count, 0)
	})

	t.Run("resumes a stream that broke after the last platform that is stored", func(t *testing.T) {
		store := memoryStore(t)
		var streams atomic.Int32
		b := startBackfill(t, startPlatformServer(t, func(context.Context) ([]platform, error) {
			if streams.Add(1) == 1 {
				return numbered(1, 2*batchSize+10), status.Error(codes.Unavailable, "stopping")
			}
			return numbered(1, 3*batchSize), nil
		}), store)
		b.waitForRuns(t, 1)
		requirePlatforms(t, store, 3*batchSize)
		assert.Len(t, b.log.Lines("backfill failed, retrying\" after=2010"), 1)
		b.requireMetrics(t, 1, 1, 3*batchSize, 0)
	})

	t.Run("stores all but the platform that the database refuses, and retries later", func(t *testing.T) {
		store := memoryStore(t)
		_, err := store.(*sqliteStore).db.Exec(`CREATE TRIGGER refuse BEFORE INSERT ON platforms WHEN NEW.external_id = 77
			BEGIN SELECT RAISE(ABORT, 'refused'); END`)
		require.NoError(t, err)
		b := startBackfill(t, startPlatformServer(t, having(numbered(1, 2*batchSize)...)), store)
		testkit.Eventually(t, "the error", func() bool { return len(b.log.Lines("retrying in a minute")) == 1 })
		requirePlatforms(t, store, 2*batchSize-1)
		assert.Len(t, b.log.Lines("first=77"), 1)
		b.requireMetrics(t, 0, 1, 2*batchSize-1, 0)
	})

	t.Run("has the service wait for its first run", func(t *testing.T) {
		proxy := testkit.NewProxy(t, startPlatformServer(t, having()))
		b := startBackfill(t, proxy.Addr, memoryStore(t))
		testkit.Eventually(t, "an attempt", func() bool { return len(b.log.Lines("backfill failed")) > 0 })
		assert.ErrorContains(t, b.check(t.Context()), "backfill")
		proxy.Restore()
		b.waitForRuns(t, 1)
		assert.NoError(t, b.check(t.Context()))
		b.request()
		assert.NoError(t, b.check(t.Context()), "and for no other")
	})

	t.Run("has the service wait no longer than it may", func(t *testing.T) {
		b := startBackfillWithin(t, "127.0.0.1:1", memoryStore(t), 50*time.Millisecond)
		testkit.Eventually(t, "the end of the wait", func() bool { return b.check(t.Context()) == nil })
		assert.Empty(t, b.log.Lines("backfill done"))
	})

	t.Run("drops what is not a valid platform, and continues", func(t *testing.T) {
		store := memoryStore(t)
		b := startBackfill(t, startPlatformServer(t, having(platform{ExternalID: 0, Name: "x"}, platform{ExternalID: -1, Name: "x"},
			platform{ExternalID: 4, Name: " "}, platform{ExternalID: 6, Name: strings.Repeat("x", 501)}, platform{ExternalID: 5, Name: "good"})), store)
		b.waitForRuns(t, 1)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 5, Name: "good"}}, platforms)
		assert.Len(t, b.log.Lines("backfill dropped"), 4)
	})

	t.Run("retries until the server is up", func(t *testing.T) {
		store := memoryStore(t)
		proxy := testkit.NewProxy(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})))
		b := startBackfill(t, proxy.Addr, store)
		testkit.Eventually(t, "two attempts", func() bool { return len(b.log.Lines("backfill failed, retrying")) >= 2 })
		requirePlatforms(t, store, 0)
		proxy.Restore()
		b.waitForRuns(t, 1)
		requirePlatforms(t, store, 1)
	})

	t.Run("retries when it cannot store the response", func(t *testing.T) {
		store := memoryStore(t)
		require.NoError(t, store.close())
		b := startBackfill(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})), store)
		testkit.Eventually(t, "two attempts", func() bool { return len(b.log.Lines("store the response")) >= 2 })
	})

	for code, advice := range map[codes.Code]string{
		codes.ResourceExhausted: "4 MiB",
		codes.Unimplemented:     "PLATFORMS_GRPC_TARGET",
	} {
		t.Run(code.String()+" is an error that says what to do, and not one to retry at once", func(t *testing.T) {
			var calls atomic.Int32
			b := startBackfill(t, startOldPlatformServer(t, func(context.Context) ([]platform, error) {
				calls.Add(1)
				return nil, status.Error(code, "no")
			}), memoryStore(t))
			testkit.Eventually(t, "the error", func() bool { return len(b.log.Lines("level=ERROR")) == 1 })
			assert.Contains(t, b.log.Lines("level=ERROR")[0], advice)

			// Meanwhile another backfill, which pauses for milliseconds, makes several attempts.
			other := startBackfill(t, "127.0.0.1:1", memoryStore(t))
			testkit.Eventually(t, "three attempts of another", func() bool { return len(other.log.Lines("backfill failed, retrying")) >= 3 })
			assert.EqualValues(t, 1, calls.Load())
		})
	}

	t.Run("retries soon when PlatformService has too many streams", func(t *testing.T) {
		b := startBackfill(t, startPlatformServer(t, func(context.Context) ([]platform, error) {
			return nil, status.Error(codes.ResourceExhausted, "too many streams at once; retry later")
		}), memoryStore(t))
		testkit.Eventually(t, "three attempts", func() bool { return len(b.log.Lines("backfill failed, retrying")) >= 3 })
		assert.Empty(t, b.log.Lines("level=ERROR"))
	})

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
		testkit.Receive(t, "the first run", calls)
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
			testkit.NoGoroutineLeft(t)
			b := startBackfill(t, startPlatformServer(t, having()), memoryStore(t))
			b.waitForRuns(t, 1)
			b.stop()
			testkit.Receive(t, "the end of run", b.stopped)
		})
		t.Run("between two attempts", func(t *testing.T) {
			testkit.NoGoroutineLeft(t)
			b := startBackfill(t, "127.0.0.1:1", memoryStore(t))
			testkit.Eventually(t, "an attempt", func() bool { return len(b.log.Lines("backfill failed")) > 0 })
			b.stop()
			testkit.Receive(t, "the end of run", b.stopped)
		})
		t.Run("during a call", func(t *testing.T) {
			testkit.NoGoroutineLeft(t)
			called := make(chan struct{}, 1)
			b := startBackfill(t, startPlatformServer(t, func(ctx context.Context) ([]platform, error) {
				called <- struct{}{}
				<-ctx.Done() // the client hangs up
				return nil, ctx.Err()
			}), memoryStore(t))
			testkit.Receive(t, "the call", called)
			b.stop()
			testkit.Receive(t, "the end of run", b.stopped)
			assert.Empty(t, b.log.Lines("backfill failed"), "stopping is no failure")
		})
	})
}

func TestRunBackfills(t *testing.T) {
	t.Run("when PlatformService comes up later", func(t *testing.T) {
		proxy := testkit.NewProxy(t, startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"})))
		cfg := testConfig(t)
		cfg.GRPCTarget = proxy.Addr
		service := startService(t, cfg)
		service.waitReady(t)
		testkit.Eventually(t, "an attempt", func() bool { return len(service.Log.Lines("backfill failed")) > 0 })
		testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, "[]")

		proxy.Restore()
		testkit.Eventually(t, "a run that succeeds", func() bool { return len(service.Log.Lines("backfill done")) > 0 })
		testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
	})

	t.Run("what was published while the broker was down", func(t *testing.T) {
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		var missed atomic.Bool
		cfg := testConfig(t)
		cfg.RabbitMQURL, cfg.Exchange, cfg.Queue = url, broker.Exchange, broker.Exchange
		cfg.GRPCTarget = startPlatformServer(t, func(context.Context) ([]platform, error) {
			if missed.Load() {
				return []platform{{ExternalID: 4, Name: "missed"}}, nil
			}
			return nil, nil
		})
		service := startService(t, cfg)
		service.waitReady(t)
		testkit.Eventually(t, "a connection", func() bool { return len(service.Log.Lines("subscriber connected")) == 1 })
		// The runs of the start, one or two, end before anything is missed.
		testkit.Eventually(t, "a run that succeeds", func() bool { return len(service.Log.Lines("backfill done")) > 0 })

		proxy.Cut()
		testkit.Eventually(t, "the loss", func() bool { return len(service.Log.Lines("subscriber not connected")) > 0 })
		missed.Store(true)
		proxy.Restore()
		testkit.Eventually(t, "the platform", func() bool { return len(service.Log.Lines(`"backfill done" received=1 new=1`)) == 1 })
		testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"missed"}]`)
	})

	t.Run("leaves to the retries what an event reported that could not be stored", func(t *testing.T) {
		broker := newQueueBroker(t)
		cfg := testConfig(t)
		cfg.RabbitMQURL, cfg.Exchange, cfg.Queue = broker.URL, broker.Exchange, broker.Exchange
		cfg.RetryDelays = slices.Repeat(cfg.RetryDelays, 400) // until the database accepts the row
		cfg.GRPCTarget = startPlatformServer(t, having(platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"}))
		service := startService(t, cfg)
		service.waitReady(t)
		testkit.Eventually(t, "a connection", func() bool { return len(service.Log.Lines("subscriber connected")) == 1 })
		testkit.Eventually(t, "a run that succeeds", func() bool { return len(service.Log.Lines("backfill done")) > 0 })

		// For now, the database refuses this row.
		db, err := sql.Open("sqlite3", strings.TrimPrefix(cfg.DatabaseURL, "sqlite:"))
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec(`BEGIN IMMEDIATE; DELETE FROM platforms; CREATE TRIGGER refuse BEFORE INSERT ON platforms BEGIN SELECT RAISE(ABORT, 'refused'); END; COMMIT`)
		require.NoError(t, err)
		require.True(t, broker.Publish(t, recordedEvent))
		testkit.Eventually(t, "the failure", func() bool { return len(service.Log.Lines("events not handled, delivered again later")) > 0 })
		_, err = db.Exec(`DROP TRIGGER refuse`)
		require.NoError(t, err)
		testkit.Eventually(t, "the platforms", func() bool {
			return testkit.Send(t, "GET", service.URL+"/api/c/platforms/4/commands", "").Status == http.StatusOK
		})
	})
}
