package platformservice

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// testStore is the contract of every platformStore. open returns a new, empty one.
func testStore(t *testing.T, open func(t testing.TB) platformStore) {
	t.Run("outbox", func(t *testing.T) { testOutbox(t, open) })
	t.Run("lease", func(t *testing.T) { testLease(t, open) })
	t.Run("idempotency keys", func(t *testing.T) { testIdempotencyKeys(t, open) })

	t.Run("a new store is empty", func(t *testing.T) {
		platforms, err := allPlatforms(t.Context(), open(t))
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
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, created, platforms)
	})

	t.Run("a page has the platforms after an id, in id order", func(t *testing.T) {
		store := open(t)
		var created []platform
		for _, name := range []string{"c", "a", "b", "d"} {
			created = append(created, createPlatform(t, store, name))
		}
		for _, row := range []struct {
			after int32
			limit int
			want  []platform
		}{
			{0, 10, created}, {-1, 4, created}, {0, 2, created[:2]}, {created[1].ID, 1, created[2:3]},
			{created[1].ID, 2, created[2:]}, {created[3].ID, 1, nil}, {math.MaxInt32, 1, nil},
		} {
			page, more, err := store.platformsAfter(t.Context(), row.after, row.limit)
			require.NoError(t, err)
			assert.Equal(t, len(page) > 0 && page[len(page)-1] != created[3], more, "more than %d after %d", row.limit, row.after)
			assert.Equal(t, row.want, page, "%d after %d", row.limit, row.after)
		}
	})

	t.Run("a page ends with the platform that reaches the most text", func(t *testing.T) {
		store := open(t)
		text := strings.Repeat("😀", maxText)
		many := make([]platform, 60) // 6,000 bytes each
		for i := range many {
			many[i] = platform{Name: text, Publisher: text, Cost: text}
		}
		require.NoError(t, store.createIfEmpty(t.Context(), many))
		fits := web.MaxListText/6000 + 1
		page, more, err := store.platformsAfter(t.Context(), 0, 1000)
		require.NoError(t, err)
		assert.Len(t, page, fits)
		assert.True(t, more)
		page, more, err = store.platformsAfter(t.Context(), page[fits-1].ID, fits)
		require.NoError(t, err)
		assert.Len(t, page, fits)
		assert.True(t, more)
		all, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Len(t, all, len(many))
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
		for kind, text := range testkit.OddTexts() {
			created, err := store.createPlatform(t.Context(), platform{Name: text, Publisher: text, Cost: text})
			require.NoError(t, err, kind)
			found, err := store.platform(t.Context(), created.ID)
			require.NoError(t, err, kind)
			assert.Equal(t, platform{ID: created.ID, Name: text, Publisher: text, Cost: text}, found, kind)
		}
	})

	t.Run("of many that create if empty, one does", func(t *testing.T) {
		store := open(t)
		testkit.InParallel(t, 8, func(i int) error {
			name := fmt.Sprint("by ", i)
			return store.createIfEmpty(t.Context(), []platform{
				{Name: name, Publisher: "p", Cost: "1"}, {Name: name, Publisher: "p", Cost: "2"}})
		})
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		require.Len(t, platforms, 2)
		assert.Equal(t, platforms[0].Name, platforms[1].Name)
	})

	t.Run("create if empty leaves existing platforms alone", func(t *testing.T) {
		store := open(t)
		known := createPlatform(t, store, "x")
		require.NoError(t, store.createIfEmpty(t.Context(), []platform{{Name: "y", Publisher: "p", Cost: "1"}}))
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{known}, platforms)
	})

	t.Run("a cancelled context is an error and changes nothing", func(t *testing.T) {
		store := open(t)
		known := createPlatform(t, store, "x")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := allPlatforms(ctx, store)
		assert.ErrorIs(t, err, context.Canceled)
		_, _, err = store.platformsAfter(ctx, 0, 1)
		assert.ErrorIs(t, err, context.Canceled)
		_, err = store.platform(ctx, known.ID)
		assert.ErrorIs(t, err, context.Canceled)
		_, err = store.createPlatform(ctx, platform{Name: "y", Publisher: "p", Cost: "1"})
		assert.ErrorIs(t, err, context.Canceled)
		_, _, err = store.createPlatformOnce(ctx, "key", platform{Name: "y", Publisher: "p", Cost: "1"})
		assert.ErrorIs(t, err, context.Canceled)
		assert.ErrorIs(t, store.createIfEmpty(ctx, nil), context.Canceled)

		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{known}, platforms)
		assert.Len(t, pending(t, store), 1)
	})

	t.Run("nothing is lost when many write and read at once", func(t *testing.T) {
		store := open(t)
		const writers, each = 8, 20
		testkit.InParallel(t, writers, func(i int) error {
			for n := range each {
				created, err := store.createPlatform(t.Context(), platform{Name: fmt.Sprint(i, "/", n), Publisher: "p", Cost: "1"})
				if err != nil {
					return err
				}
				if _, err := store.platform(t.Context(), created.ID); err != nil {
					return err
				}
				if _, err := allPlatforms(t.Context(), store); err != nil {
					return err
				}
			}
			return nil
		})
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		names := map[string]int32{}
		for _, p := range platforms {
			names[p.Name] = p.ID
		}
		assert.Len(t, platforms, writers*each)
		assert.Len(t, names, writers*each)
		assert.Len(t, pending(t, store), writers*each)
	})

	t.Run("after Close every call is an error", func(t *testing.T) {
		store := open(t)
		require.NoError(t, store.close())
		_, err := allPlatforms(t.Context(), store)
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
		platforms, err := allPlatforms(t.Context(), other)
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
	for setting, want := range map[string]int{"": 2, "FULL": 2, "NORMAL": 1} { // https://www.sqlite.org/pragma.html#pragma_synchronous
		store, err := openSQLite(filepath.Join(t.TempDir(), "x.db"), setting)
		require.NoError(t, err)
		defer store.close()
		var mode int
		require.NoError(t, store.writes.QueryRow(`PRAGMA synchronous`).Scan(&mode))
		assert.Equal(t, want, mode, "with FULL, what got a 201 outlives a power cut")
	}
}

// TestForeignDatabase: a file of another service is left unchanged.
func TestForeignDatabase(t *testing.T) {
	for what, content := range map[string]string{
		"CommandsService's":      `CREATE TABLE platforms (id INTEGER PRIMARY KEY, external_id INTEGER, name TEXT)`,
		"of another application": `PRAGMA application_id = 7`,
		"with other tables":      `CREATE TABLE x (y TEXT)`,
	} {
		t.Run("a database "+what+" is refused", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.db")
			db, err := sql.Open("sqlite3", file)
			require.NoError(t, err)
			defer db.Close()
			_, err = db.Exec(content)
			require.NoError(t, err)
			requireForeign(t, file)
		})
	}

	t.Run("a file that is no database is refused", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "letter.txt")
		require.NoError(t, os.WriteFile(file, []byte(strings.Repeat("Dear Sir or Madam, ", 100)), 0o600))
		requireForeign(t, file)
	})

	t.Run("a file without a mark is known by its table", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "x.db")
		store := openTestStore(t, "sqlite:"+file)
		created := createPlatform(t, store, "x")
		_, err := store.(*sqliteStore).db.Exec(`PRAGMA application_id = 0`)
		require.NoError(t, err)
		require.NoError(t, store.close())
		found, err := openTestStore(t, "sqlite:"+file).platform(t.Context(), created.ID)
		require.NoError(t, err)
		assert.Equal(t, created, found)
	})
}

// requireForeign requires file to be refused, and not changed.
func requireForeign(t *testing.T, file string) {
	t.Helper()
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	store, err := openStore("sqlite:"+file, "FULL")
	require.NoError(t, err)
	defer store.close()
	require.ErrorIs(t, store.migrate(t.Context()), errForeignDatabase)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestOpenStore(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "platforms.db", "mysql://host/db"} {
		t.Run("refuses "+url, func(t *testing.T) {
			_, err := openStore(url, "FULL")
			require.ErrorContains(t, err, "DATABASE_URL")
		})
	}

	t.Run("a folder that is not there is an error of migrate", func(t *testing.T) {
		store, err := openStore("sqlite:"+filepath.Join(t.TempDir(), "missing", "x.db"), "FULL")
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
	store, err := openStore(url, "FULL")
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

// allPlatforms returns all platforms in id order.
func allPlatforms(ctx context.Context, store platformStore) (all []platform, err error) {
	for more := true; more && err == nil; {
		var page []platform
		var after int32
		if len(all) > 0 {
			after = all[len(all)-1].ID
		}
		page, more, err = store.platformsAfter(ctx, after, math.MaxInt32)
		all = append(all, page...)
	}
	return all, err
}
