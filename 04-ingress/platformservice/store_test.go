package platformservice

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// testStore is the contract of every platformStore. open returns a new, empty one.
func testStore(t *testing.T, open func(t testing.TB) platformStore) {
	t.Run("a new store is empty", func(t *testing.T) {
		platforms, err := open(t).platforms(t.Context())
		require.NoError(t, err)
		assert.Empty(t, platforms)
	})

	t.Run("ids ascend, and platforms are listed in their order", func(t *testing.T) {
		store := open(t)
		var created []platform
		for _, name := range []string{"c", "a", "b"} {
			platform, err := store.createPlatform(t.Context(), platform{ID: 1000, Name: name, Publisher: "p", Cost: "1"})
			require.NoError(t, err)
			created = append(created, platform)
		}
		assert.Equal(t, int32(1), created[0].ID, "the id that the caller sets is ignored")
		assert.Less(t, created[0].ID, created[1].ID)
		assert.Less(t, created[1].ID, created[2].ID)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, created, platforms)
	})

	t.Run("an unknown id is errNotFound", func(t *testing.T) {
		store := open(t)
		known := createPlatform(t, store, "x")
		for _, id := range []int32{0, -1, known.ID + 1, math.MaxInt32, math.MinInt32} {
			_, err := store.platform(t.Context(), id)
			assert.ErrorIs(t, err, errNotFound, "id %d", id)
		}
		found, err := store.platform(t.Context(), known.ID)
		require.NoError(t, err)
		assert.Equal(t, known, found)
	})

	t.Run("every text is returned as it was stored", func(t *testing.T) {
		store := open(t)
		for kind, text := range oddTexts() {
			created, err := store.createPlatform(t.Context(), platform{Name: text, Publisher: text, Cost: text})
			require.NoError(t, err, kind)
			found, err := store.platform(t.Context(), created.ID)
			require.NoError(t, err, kind)
			assert.Equal(t, platform{ID: created.ID, Name: text, Publisher: text, Cost: text}, found, kind)
		}
	})

	t.Run("of many that create if empty, one does", func(t *testing.T) {
		store := open(t)
		inParallel(t, 8, func(i int) error {
			name := fmt.Sprint("by ", i)
			return store.createIfEmpty(t.Context(), []platform{
				{Name: name, Publisher: "p", Cost: "1"}, {Name: name, Publisher: "p", Cost: "2"}})
		})
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		require.Len(t, platforms, 2)
		assert.Equal(t, platforms[0].Name, platforms[1].Name)
	})

	t.Run("create if empty leaves existing platforms alone", func(t *testing.T) {
		store := open(t)
		known := createPlatform(t, store, "x")
		require.NoError(t, store.createIfEmpty(t.Context(), []platform{{Name: "y", Publisher: "p", Cost: "1"}}))
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{known}, platforms)
	})

	t.Run("a cancelled context is an error and changes nothing", func(t *testing.T) {
		store := open(t)
		known := createPlatform(t, store, "x")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := store.platforms(ctx)
		assert.ErrorIs(t, err, context.Canceled)
		_, err = store.platform(ctx, known.ID)
		assert.ErrorIs(t, err, context.Canceled)
		_, err = store.createPlatform(ctx, platform{Name: "y", Publisher: "p", Cost: "1"})
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, store.createIfEmpty(ctx, nil), context.Canceled)

		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{known}, platforms)
	})

	t.Run("nothing is lost when many write and read at once", func(t *testing.T) {
		store := open(t)
		// Few: a slow disk syncs one after the other, and a writer waits for 5 s at most.
		const writers, each = 8, 5
		inParallel(t, writers, func(i int) error {
			for n := range each {
				created, err := store.createPlatform(t.Context(), platform{Name: fmt.Sprint(i, "/", n), Publisher: "p", Cost: "1"})
				if err != nil {
					return err
				}
				if _, err := store.platform(t.Context(), created.ID); err != nil {
					return err
				}
				if _, err := store.platforms(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		names := map[string]int32{}
		for _, p := range platforms {
			names[p.Name] = p.ID
		}
		assert.Len(t, platforms, writers*each)
		assert.Len(t, names, writers*each)
	})

	t.Run("after Close every call is an error", func(t *testing.T) {
		store := open(t)
		require.NoError(t, store.close())
		_, err := store.platforms(t.Context())
		assert.Error(t, err)
		_, err = store.platform(t.Context(), 1)
		require.Error(t, err)
		assert.NotErrorIs(t, err, errNotFound)
		_, err = store.createPlatform(t.Context(), platform{Name: "x", Publisher: "p", Cost: "1"})
		assert.Error(t, err)
		assert.Error(t, store.createIfEmpty(t.Context(), nil))
	})
}

func TestSQLiteInMemory(t *testing.T) {
	testStore(t, memoryStore)

	t.Run("two are two", func(t *testing.T) {
		one, other := memoryStore(t), memoryStore(t)
		createPlatform(t, one, "x")
		platforms, err := other.platforms(t.Context())
		require.NoError(t, err)
		assert.Empty(t, platforms)
	})
}

func TestSQLiteFile(t *testing.T) {
	// Each of these characters means something else in a URL.
	const name = "a file?, 100%25 #1.db"
	testStore(t, func(t testing.TB) platformStore {
		return openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), name))
	})

	t.Run("what was stored outlives Close", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), name)
		store := openTestStore(t, "sqlite:"+file)
		created := createPlatform(t, store, "x")
		require.NoError(t, store.close())
		require.FileExists(t, file)

		found, err := openTestStore(t, "sqlite:"+file).platform(t.Context(), created.ID)
		require.NoError(t, err)
		assert.Equal(t, created, found)
	})

	t.Run("an id is not given again, not even after Close", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), name)
		store := openTestStore(t, "sqlite:"+file)
		createPlatform(t, store, "x")
		last := createPlatform(t, store, "y")
		_, err := store.(*sqliteStore).db.Exec(`DELETE FROM platforms`)
		require.NoError(t, err)
		require.NoError(t, store.close())
		assert.Greater(t, createPlatform(t, openTestStore(t, "sqlite:"+file), "z").ID, last.ID)
	})
}

func TestSQLiteCommitIsSynced(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db")).(*sqliteStore)
	var mode int
	require.NoError(t, store.db.QueryRow(`PRAGMA synchronous`).Scan(&mode))
	const full = 2 // https://www.sqlite.org/pragma.html#pragma_synchronous
	assert.Equal(t, full, mode, "what got a 201 outlives a power cut")
}

// TestSQLiteReadersDoNotWait: a list is not held up by a transaction that writes.
func TestSQLiteReadersDoNotWait(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	tx, err := store.(*sqliteStore).db.Begin()
	require.NoError(t, err)
	defer tx.Rollback()
	_, err = tx.Exec(`INSERT INTO platforms (name, publisher, cost) VALUES ('x', 'p', '1')`)
	require.NoError(t, err)
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Empty(t, platforms, "what is not committed is not there")
}

// TestFullDatabase: what is reported as stored is stored.
func TestFullDatabase(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	db := store.(*sqliteStore).db
	db.SetMaxOpenConns(1) // the limit is that of one connection
	_, err := db.Exec(`PRAGMA max_page_count = 12`)
	require.NoError(t, err)

	var accepted []platform
	for range 100 {
		created, err := store.createPlatform(t.Context(), platform{Name: strings.Repeat("x", 500), Publisher: "p", Cost: "1"})
		if err == nil {
			accepted = append(accepted, created)
		}
	}
	assert.NotEmpty(t, accepted)
	assert.Less(t, len(accepted), 100)
	stored, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Equal(t, accepted, stored)
}

func TestOpenStore(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "platforms.db", "mysql://host/db"} {
		t.Run("refuses "+url, func(t *testing.T) {
			_, err := openStore(url)
			require.Error(t, err)
		})
	}

	t.Run("a folder that is not there is an error of migrate", func(t *testing.T) {
		store, err := openStore("sqlite:" + filepath.Join(t.TempDir(), "missing", "x.db"))
		require.NoError(t, err)
		defer store.close()
		assert.Error(t, store.migrate(t.Context()))
	})
}

// memoryStore returns an empty store in memory.
func memoryStore(t testing.TB) platformStore {
	t.Helper()
	return openTestStore(t, "sqlite::memory:")
}

// openStore returns the store that url names, ready for use.
func openTestStore(t testing.TB, url string) platformStore {
	t.Helper()
	store, err := openStore(url)
	require.NoError(t, err)
	t.Cleanup(func() { store.close() })
	require.NoError(t, store.migrate(t.Context()))
	return store
}

// createPlatform stores a platform of this name.
func createPlatform(t testing.TB, store platformStore, name string) platform {
	t.Helper()
	platform, err := store.createPlatform(t.Context(), platform{Name: name, Publisher: "Microsoft", Cost: "Free"})
	require.NoError(t, err)
	return platform
}
