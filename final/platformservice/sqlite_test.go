package platformservice

import (
	"context"
	"database/sql"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/outbox"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestLockedDatabase: a POST that meets a locked database gets a 503, stores
// nothing, and succeeds when it is sent again later.
func TestLockedDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	_, err := store.(*sqliteStore).writes.Exec(`PRAGMA busy_timeout = 1`)
	require.NoError(t, err)
	log, logged := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())

	other, err := sql.Open("sqlite3", file)
	require.NoError(t, err)
	defer other.Close()
	lock, err := other.Conn(t.Context())
	require.NoError(t, err)
	defer lock.Close()
	_, err = lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	require.NoError(t, err)

	const body = `{"name":"x","publisher":"p","cost":"1"}`
	r := testkit.Send(t, "POST", url+"/api/platforms", body)
	testkit.RequireProblem(t, r, http.StatusServiceUnavailable)
	assert.NotEmpty(t, r.Header.Get("Retry-After"))
	assert.NotContains(t, r.Body, "locked")
	assert.Len(t, logged.Lines("database is locked"), 1)
	assert.Equal(t, "[]\n", testkit.Send(t, "GET", url+"/api/platforms", "").Body)

	_, err = lock.ExecContext(context.Background(), `ROLLBACK`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body).Status)
}

// requireUnavailable posts a platform, without a key and with one, and requires
// that each POST has a 503.
func requireUnavailable(t *testing.T, url string) {
	t.Helper()
	for _, key := range [][]string{nil, {"Idempotency-Key", "key"}} {
		r := testkit.Send(t, "POST", url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`, key...)
		testkit.RequireProblem(t, r, http.StatusServiceUnavailable)
		assert.NotEmpty(t, r.Header.Get("Retry-After"))
	}
}

// requireAvailable requires that the same POSTs create a platform each, and that
// no other is stored than those that were before.
func requireAvailable(t *testing.T, url string, store platformStore, before int) {
	t.Helper()
	for _, key := range [][]string{nil, {"Idempotency-Key", "key"}} {
		r := testkit.Send(t, "POST", url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`, key...)
		assert.Equal(t, http.StatusCreated, r.Status)
		assert.Empty(t, r.Header.Get("Idempotency-Replayed"))
	}
	assert.Equal(t, before+2, countRows(t, store, "platforms"))
	assert.Equal(t, before+2, countRows(t, store, "outbox"))
}

// storeWrites are all calls of a store that change its database.
func storeWrites(store platformStore) map[string]func(context.Context) error {
	p := platform{Name: "x", Publisher: "p", Cost: "1"}
	return map[string]func(context.Context) error{
		"createPlatform":     func(ctx context.Context) error { _, err := store.createPlatform(ctx, p); return err },
		"createPlatformOnce": func(ctx context.Context) error { _, _, err := store.createPlatformOnce(ctx, "key", p); return err },
		"createIfEmpty":      func(ctx context.Context) error { return store.createIfEmpty(ctx, []platform{p}) },
		"markPublished":      func(ctx context.Context) error { return store.MarkPublished(ctx, []int64{1}) },
		"prune":              func(ctx context.Context) error { _, err := store.Prune(ctx); return err },
		"acquireLease": func(ctx context.Context) error {
			_, err := store.AcquireLease(ctx, "owner", outbox.LeaseTTL)
			return err
		},
		"releaseLease": func(ctx context.Context) error { return store.ReleaseLease(ctx, "owner") },
	}
}

// TestFailedCommit: the error of a commit is that of the call, whatever the call
// writes. SQLite itself refuses these commits: a hook asks it to.
func TestFailedCommit(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "platforms.db")).(*sqliteStore)
	refuse := func(hook func() int) {
		conn, err := store.writes.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.Raw(func(driver any) error {
			driver.(*sqlite3.SQLiteConn).RegisterCommitHook(hook)
			return nil
		}))
	}
	refuse(func() int { return 1 })
	for name, write := range storeWrites(store) {
		assert.ErrorContains(t, write(t.Context()), "commit", name)
	}
	refuse(nil)
	assert.Zero(t, countRows(t, store, "platforms"))
	assert.Zero(t, countRows(t, store, "idempotency_keys"))
	for name, write := range storeWrites(store) {
		assert.NoError(t, write(t.Context()), name)
	}
}

// TestReadOnlyDatabase: what writes gets a 503, and later succeeds.
func TestReadOnlyDatabase(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "platforms.db")).(*sqliteStore)
	log, _ := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
	_, err := store.writes.Exec(`PRAGMA query_only = 1`)
	require.NoError(t, err)
	requireUnavailable(t, url)
	assert.Equal(t, "[]\n", testkit.Send(t, "GET", url+"/api/platforms", "").Body)
	_, err = store.writes.Exec(`PRAGMA query_only = 0`)
	require.NoError(t, err)
	requireAvailable(t, url, store, 0)
}

// TestReplacedFile: once the file is another or none, nothing is accepted that a
// restart would not find, and /readyz says why.
func TestReplacedFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be moved")
	}
	for _, suffix := range []string{"", "-wal"} {
		t.Run("platforms.db"+suffix, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "platforms.db")
			store := openTestStore(t, "sqlite:"+file)
			known := createPlatform(t, store, "x")
			log, logged := testkit.CaptureLog()
			h := web.NewHealth(slog.New(slog.DiscardHandler), web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
			h.Set(web.Ready)
			url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))
			require.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/readyz", "").Status)

			require.NoError(t, os.Rename(file+suffix, file+".moved"))
			requireUnavailable(t, url)
			for name, write := range storeWrites(store) {
				assert.ErrorIs(t, write(t.Context()), sqlite.ErrReplaced, name)
			}
			assert.NotEmpty(t, logged.Lines(file+suffix))
			testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/readyz", ""), http.StatusServiceUnavailable,
				`{"status":"unavailable","checks":{"database":{"status":"failing","detail":"`+sqlite.ErrReplaced.Error()+`"}}}`)
			testkit.InParallel(t, 16, func(int) error {
				_, _, err := store.platformsAfter(t.Context(), 0, 1) // by the old file, or an error
				if err != nil && !databaseUnavailable(err) {
					return err
				}
				return nil
			})
			assert.NoFileExists(t, file+suffix, "no new connection has created an empty database")

			require.NoError(t, os.Rename(file+".moved", file+suffix))
			found, err := store.platform(t.Context(), known.ID)
			require.NoError(t, err)
			assert.Equal(t, known, found)
			requireAvailable(t, url, store, 1)
			testkit.Eventually(t, "readiness", func() bool { return testkit.Send(t, "GET", url+"/readyz", "").Status == http.StatusOK })
		})
	}
}

// TestReadersOfSQLite: however many read at once, there are only so many
// connections. Each has a cache, and memory that Go does not know of.
func TestReadersOfSQLite(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "platforms.db"))
	db := store.(*sqliteStore).db
	for range 15 { // all but one are busy
		busy, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer busy.Close()
	}
	testkit.InParallel(t, 100, func(int) error {
		_, _, err := store.platformsAfter(t.Context(), 0, 10)
		return err
	})
	assert.LessOrEqual(t, db.Stats().OpenConnections, 16)
}
