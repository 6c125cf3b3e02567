package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"net/http"
	"path/filepath"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// groupOf calls write once for each of dos, and holds them up until all wait for
// their turn. It returns their errors.
func groupOf(t *testing.T, writer *sqliteWriter, contexts []context.Context, dos ...func(*sql.Tx) error) []error {
	t.Helper()
	errs := make([]error, len(dos))
	block := make(chan struct{})
	var first error
	go func() {
		first = writer.write(t.Context(), func(*sql.Tx) error { <-block; return nil })
	}()
	synctest.Wait()
	for i, do := range dos {
		go func() { errs[i] = writer.write(contexts[i], do) }()
	}
	synctest.Wait()
	close(block)
	synctest.Wait()
	require.NoError(t, first)
	return errs
}

// TestSQLiteWriter runs in bubbles of synctest, which tell when every write waits.
func TestSQLiteWriter(t *testing.T) {
	// inBubble calls test with a store in a bubble.
	inBubble := func(t *testing.T, test func(t *testing.T, store *sqliteStore)) {
		synctest.Test(t, func(t *testing.T) {
			test(t, openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db")).(*sqliteStore))
		})
	}
	insert := func(name string) func(*sql.Tx) error {
		return func(tx *sql.Tx) error {
			_, err := tx.Exec(`INSERT INTO platforms (name, publisher, cost) VALUES (?, '', '')`, name)
			return err
		}
	}
	names := func(t *testing.T, store *sqliteStore) (names []string) {
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		for _, p := range platforms {
			names = append(names, p.Name)
		}
		return names
	}

	t.Run("those that wait share a transaction", func(t *testing.T) {
		inBubble(t, func(t *testing.T, store *sqliteStore) {
			transactions := map[*sql.Tx]int{}
			dos := make([]func(*sql.Tx) error, maxWrites+1)
			contexts := make([]context.Context, len(dos))
			for i := range dos {
				contexts[i] = t.Context()
				dos[i] = func(tx *sql.Tx) error { transactions[tx]++; return nil }
			}
			for _, err := range groupOf(t, store.writer, contexts, dos...) {
				assert.NoError(t, err)
			}
			var sizes []int
			for _, n := range transactions {
				sizes = append(sizes, n)
			}
			assert.ElementsMatch(t, []int{maxWrites, 1}, sizes)
		})
	})

	t.Run("one that fails is undone, and fails none of the others", func(t *testing.T) {
		inBubble(t, func(t *testing.T, store *sqliteStore) {
			failure := errors.New("no")
			ctx := t.Context()
			errs := groupOf(t, store.writer, []context.Context{ctx, ctx, ctx}, insert("a"), func(tx *sql.Tx) error {
				return errors.Join(insert("b")(tx), failure)
			}, insert("c"))
			assert.NoError(t, errs[0])
			assert.ErrorIs(t, errs[1], failure)
			assert.NoError(t, errs[2])
			assert.ElementsMatch(t, []string{"a", "c"}, names(t, store))
		})
	})

	t.Run("a platform that failed together with others is stored whole on its own", func(t *testing.T) {
		inBubble(t, func(t *testing.T, store *sqliteStore) {
			block, calls := make(chan struct{}), 0
			go store.writer.write(t.Context(), func(*sql.Tx) error { <-block; return nil })
			synctest.Wait()
			go store.writer.write(t.Context(), func(tx *sql.Tx) error {
				if calls++; calls > 1 {
					return nil
				}
				_, err := tx.Exec(`CREATE TRIGGER refuse BEFORE INSERT ON platforms BEGIN SELECT RAISE(ABORT, 'no'); END`)
				return err
			})
			synctest.Wait()
			var created platform
			var err error
			go func() {
				created, err = store.createPlatform(t.Context(), platform{Name: "x", Publisher: "p", Cost: "1"})
			}()
			synctest.Wait()
			close(block)
			synctest.Wait()
			require.NoError(t, err)
			assert.Equal(t, 2, calls)
			assert.Equal(t, platform{ID: created.ID, Name: "x", Publisher: "p", Cost: "1"}, created)
			assert.Equal(t, []string{"x"}, names(t, store))
		})
	})

	t.Run("one whose context ends while it waits is left out", func(t *testing.T) {
		inBubble(t, func(t *testing.T, store *sqliteStore) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			errs := groupOf(t, store.writer, []context.Context{t.Context(), ctx}, insert("a"), insert("b"))
			assert.NoError(t, errs[0])
			assert.ErrorIs(t, errs[1], context.Canceled)
			assert.Equal(t, []string{"a"}, names(t, store))
		})
	})

	t.Run("close waits for what has begun, and refuses the rest", func(t *testing.T) {
		inBubble(t, func(t *testing.T, store *sqliteStore) {
			block := make(chan struct{})
			var begun error
			go func() {
				begun = store.writer.write(t.Context(), func(tx *sql.Tx) error { <-block; return insert("a")(tx) })
			}()
			synctest.Wait()
			closed := false
			go func() { store.writer.close(); closed = true }()
			synctest.Wait()
			assert.False(t, closed)
			assert.ErrorIs(t, store.writer.write(t.Context(), insert("b")), errWriterClosed)
			close(block)
			synctest.Wait()
			assert.True(t, closed)
			assert.NoError(t, begun)
			assert.Equal(t, []string{"a"}, names(t, store))
		})
	})
}

// TestFullDisk: a POST that meets a full disk gets a 503 and stores nothing, of
// many at once as of one, and later ones succeed.
func TestFullDisk(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db")).(*sqliteStore)
	log, logged := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
	const body = `{"name":"x","publisher":"p","cost":"1"}`
	_, err := store.writes.Exec(`PRAGMA max_page_count = 1`) // as many as it has now
	require.NoError(t, err)

	created := 0
	refused := testkit.Send(t, "POST", url+"/api/platforms", body)
	for refused.Status == http.StatusCreated { // until the last page is full
		created++
		refused = testkit.Send(t, "POST", url+"/api/platforms", body)
	}
	testkit.RequireProblem(t, refused, http.StatusServiceUnavailable)
	assert.NotEmpty(t, refused.Header.Get("Retry-After"))
	assert.NotEmpty(t, logged.Lines("database or disk is full"))
	testkit.InParallel(t, 8, func(int) error {
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", body), http.StatusServiceUnavailable)
		return nil
	})
	assert.Equal(t, created, countRows(t, store, "platforms"))
	assert.Equal(t, created, countRows(t, store, "outbox"), "no event without its platform, and none half written")

	_, err = store.writes.Exec(`PRAGMA max_page_count = 1000000`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body).Status)
}
