package platformservice

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lateDatabase returns the URL of a SQLite file in a folder that is not there
// until arrive is called: a database that is not up yet.
func lateDatabase(t testing.TB) (databaseURL string, arrive func()) {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "later")
	return "sqlite:" + filepath.Join(folder, "platforms.db"), func() { require.NoError(t, os.Mkdir(folder, 0o700)) }
}

// startSetUp calls setUp on a new store.
func startSetUp(t testing.TB, ctx context.Context, cfg Config) (store platformStore, logged *logCapture, result <-chan error) {
	t.Helper()
	store, err := openStore(cfg.DatabaseURL)
	require.NoError(t, err)
	log, logged := captureLog()
	ctx, cancel := context.WithCancel(ctx)
	done, ended := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(ended)
		done <- setUp(ctx, store, cfg, log)
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, "the end of setUp", ended)
		store.close()
	})
	return store, logged, done
}

// failingStore is a store whose migrate is replaced.
type failingStore struct {
	platformStore
	migration func(context.Context) error
}

func (s failingStore) migrate(ctx context.Context) error { return s.migration(ctx) }

func TestSetUp(t *testing.T) {
	t.Run("seeds only when configured to", func(t *testing.T) {
		for seed, want := range map[bool]int{true: 3, false: 0} {
			store, _, result := startSetUp(t, t.Context(), Config{DatabaseURL: "sqlite::memory:", DatabaseWait: patience, Seed: seed})
			require.NoError(t, receive(t, "the result", result))
			platforms, err := store.platforms(t.Context())
			require.NoError(t, err)
			assert.Len(t, platforms, want)
		}
	})

	t.Run("is safe when several start at once", func(t *testing.T) {
		cfg := Config{DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "platforms.db"), DatabaseWait: patience, Seed: true}
		var results []<-chan error
		var store platformStore
		for range 6 {
			var result <-chan error
			store, _, result = startSetUp(t, t.Context(), cfg)
			results = append(results, result)
		}
		for _, result := range results {
			require.NoError(t, receive(t, "the result", result))
		}
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 3, "seeded once")
	})

	t.Run("retries until the database is up, and logs each attempt", func(t *testing.T) {
		url, arrive := lateDatabase(t)
		store, logged, result := startSetUp(t, t.Context(), Config{DatabaseURL: url, DatabaseWait: patience, Seed: true})
		eventually(t, "two attempts in the log", func() bool { return len(logged.lines("database not ready")) >= 2 })
		assert.Contains(t, logged.lines("")[0], "unable to open database file")
		assert.Empty(t, result)
		arrive()
		require.NoError(t, receive(t, "the result", result))
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 3)
	})

	t.Run("returns the reason and the setting when the wait is over", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // in which an attempt takes no time
			url, _ := lateDatabase(t)
			_, _, result := startSetUp(t, t.Context(), Config{DatabaseURL: url, DatabaseWait: time.Minute})
			err := <-result
			require.ErrorContains(t, err, "DATABASE_WAIT")
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
		log, _ := captureLog()
		err := setUp(t.Context(), store, Config{DatabaseWait: 2 * firstPause}, log)
		require.ErrorContains(t, err, "DATABASE_WAIT")
		assert.ErrorContains(t, err, "login failed")
	})

	t.Run("stops when its context ends", func(t *testing.T) {
		url, _ := lateDatabase(t)
		ctx, cancel := context.WithCancel(t.Context())
		_, logged, result := startSetUp(t, ctx, Config{DatabaseURL: url, DatabaseWait: time.Hour})
		eventually(t, "an attempt", func() bool { return len(logged.lines("database not ready")) > 0 })
		cancel()
		assert.Error(t, receive(t, "the result", result))
	})
}

// TestRunWaitsForTheDatabase: while it waits, the service is alive but not ready.
func TestRunWaitsForTheDatabase(t *testing.T) {
	t.Run("until it is up", func(t *testing.T) {
		cfg := testConfig(t)
		var arrive func()
		cfg.DatabaseURL, arrive = lateDatabase(t)
		service := startService(t, cfg)
		eventually(t, "an attempt", func() bool { return len(service.log.lines("database not ready")) > 0 })
		assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/livez", "").status)
		requireProblem(t, send(t, "GET", service.url+"/readyz", ""), http.StatusServiceUnavailable)
		requireProblem(t, send(t, "GET", service.url+"/api/platforms", ""), http.StatusServiceUnavailable)

		arrive()
		service.waitReady(t)
		assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/readyz", "").status)
	})

	t.Run("until DATABASE_WAIT has passed, which is an error", func(t *testing.T) {
		noGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.DatabaseURL, _ = lateDatabase(t)
		cfg.DatabaseWait = 10 * time.Millisecond
		log, _ := captureLog()
		require.ErrorContains(t, Run(t.Context(), cfg, log), "DATABASE_WAIT")
	})

	t.Run("until it is stopped, which is no error", func(t *testing.T) {
		noGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.DatabaseURL, _ = lateDatabase(t)
		service := startService(t, cfg)
		eventually(t, "an attempt", func() bool { return len(service.log.lines("database not ready")) > 0 })
		service.stop()
		require.NoError(t, receive(t, "the end of Run", service.stopped))
	})
}
