package commandsservice

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/testkit"
)

// startSetUp calls setUp on a new store.
func startSetUp(t testing.TB, ctx context.Context, databaseURL string, wait time.Duration) (store commandStore, logged *testkit.LogCapture, result <-chan error) {
	t.Helper()
	store, err := openStore(databaseURL)
	require.NoError(t, err)
	log, logged := testkit.CaptureLog()
	ctx, cancel := context.WithCancel(ctx)
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- setUp(ctx, store, wait, log)
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Receive(t, "the end of setUp", ended)
		store.close()
	})
	return store, logged, done
}

// failingStore is a store whose migrate is replaced.
type failingStore struct {
	commandStore
	migration func(context.Context) error
}

func (s failingStore) migrate(ctx context.Context) error { return s.migration(ctx) }

func TestSetUp(t *testing.T) {
	t.Run("is safe when several start at once", func(t *testing.T) {
		url := "sqlite:" + filepath.Join(t.TempDir(), "commands.db")
		var results []<-chan error
		var store commandStore
		for range 6 {
			var result <-chan error
			store, _, result = startSetUp(t, t.Context(), url, testkit.Patience)
			results = append(results, result)
		}
		for _, result := range results {
			require.NoError(t, testkit.Receive(t, "the result", result))
		}
		requirePlatforms(t, store, 0)
	})

	t.Run("retries until the database is up, and logs each attempt", func(t *testing.T) {
		url, arrive := testkit.LateDatabase(t)
		store, logged, result := startSetUp(t, t.Context(), url, testkit.Patience)
		testkit.Eventually(t, "two attempts in the log", func() bool { return len(logged.Lines("database not ready")) >= 2 })
		assert.Contains(t, logged.Lines("")[0], "unable to open database file")
		assert.Empty(t, result)
		arrive()
		require.NoError(t, testkit.Receive(t, "the result", result))
		requirePlatforms(t, store, 0)
	})

	t.Run("returns the reason and the setting when the wait is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // in which an attempt takes no time
			url, _ := testkit.LateDatabase(t)
			_, _, result := startSetUp(t, t.Context(), url, time.Minute)
			err := <-result
			require.ErrorContains(t, err, "COMMANDS_DATABASE_WAIT")
			assert.ErrorContains(t, err, "1m0s")
			assert.ErrorContains(t, err, "unable to open database file")
		})
	})

	t.Run("returns the last reason, not the timeout", func(t *testing.T) {
		attempts := 0
		store := failingStore{memoryStore(t), func(ctx context.Context) error {
			if attempts++; attempts == 1 {
				return errors.New("login failed")
			}
			<-ctx.Done()
			return ctx.Err()
		}}
		log, _ := testkit.CaptureLog()
		err := setUp(t.Context(), store, 2*backoff.First, log)
		require.ErrorContains(t, err, "COMMANDS_DATABASE_WAIT")
		assert.ErrorContains(t, err, "login failed")
	})

	t.Run("does not retry with a file that is not the service's", func(t *testing.T) {
		attempts := 0
		store := failingStore{memoryStore(t), func(context.Context) error { attempts++; return errForeignDatabase }}
		log, _ := testkit.CaptureLog()
		require.ErrorIs(t, setUp(t.Context(), store, testkit.Patience, log), errForeignDatabase)
		assert.Equal(t, 1, attempts)
	})

	t.Run("stops when its context ends", func(t *testing.T) {
		url, _ := testkit.LateDatabase(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, logged, result := startSetUp(t, ctx, url, time.Hour)
		testkit.Eventually(t, "an attempt", func() bool { return len(logged.Lines("database not ready")) > 0 })
		cancel()
		assert.Error(t, testkit.Receive(t, "the result", result))
	})
}

// TestRunWaitsForTheDatabase: while it waits, the service is alive but not ready.
func TestRunWaitsForTheDatabase(t *testing.T) {
	t.Run("until it is up", func(t *testing.T) {
		cfg := testConfig(t)
		var arrive func()
		cfg.DatabaseURL, arrive = testkit.LateDatabase(t)
		service := startService(t, cfg)
		testkit.Eventually(t, "an attempt", func() bool { return len(service.Log.Lines("database not ready")) > 0 })
		assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", service.URL+"/livez", "").Status)
		assert.Equal(t, http.StatusServiceUnavailable, testkit.Send(t, "GET", service.URL+"/readyz", "").Status)
		testkit.RequireProblem(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusServiceUnavailable)

		arrive()
		service.waitReady(t)
	})

	t.Run("until COMMANDS_DATABASE_WAIT has passed, which is an error", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.DatabaseURL, _ = testkit.LateDatabase(t)
		cfg.DatabaseWait = 10 * time.Millisecond
		log, _ := testkit.CaptureLog()
		require.ErrorContains(t, Run(t.Context(), cfg, Parts{}, log), "COMMANDS_DATABASE_WAIT")
	})

	t.Run("until it is stopped, which is no error", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.DatabaseURL, _ = testkit.LateDatabase(t)
		service := startService(t, cfg)
		testkit.Eventually(t, "an attempt", func() bool { return len(service.Log.Lines("database not ready")) > 0 })
		service.Stop()
		require.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))
	})
}
