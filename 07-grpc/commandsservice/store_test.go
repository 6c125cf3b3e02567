package commandsservice

import (
	"context"
	"errors"
	"math"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSQLiteInMemory(t *testing.T) {
	testStore(t, memoryStore)
}

func TestSQLiteFile(t *testing.T) {
	testStore(t, func(t testing.TB) commandStore {
		return openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "a file?, 100%.db"))
	})

	t.Run("what was stored outlives Close", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "commands.db")
		store := openTestStore(t, "sqlite:"+file)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		created := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		require.NoError(t, store.close())

		store = openTestStore(t, "sqlite:"+file)
		commands, err := store.commands(t.Context(), 4)
		require.NoError(t, err)
		assert.Equal(t, []command{created}, commands)
	})
}

func TestSQLiteCommitIsSynced(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db")).(*sqliteStore)
	var mode int
	require.NoError(t, store.db.QueryRow(`PRAGMA synchronous`).Scan(&mode))
	const full = 2 // https://www.sqlite.org/pragma.html#pragma_synchronous
	assert.Equal(t, full, mode, "what got a 201 outlives a power cut")
}

// TestFullDatabase: what is reported as stored is stored.
func TestFullDatabase(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "x.db"))
	addPlatforms(t, store, platform{ExternalID: 1, Name: "x"})
	db := store.(*sqliteStore).db
	db.SetMaxOpenConns(1) // the limit is that of one connection
	_, err := db.Exec(`PRAGMA max_page_count = 16`)
	require.NoError(t, err)

	var accepted []command
	for range 100 {
		created, err := store.createCommand(t.Context(), command{HowTo: strings.Repeat("x", 500), CommandLine: "c", PlatformID: 1})
		if err == nil {
			accepted = append(accepted, created)
		}
	}
	assert.NotEmpty(t, accepted)
	assert.Less(t, len(accepted), 100)
	stored, err := store.commands(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, accepted, stored)

	added := 1
	for id := range int32(100) {
		if ok, err := store.addPlatform(t.Context(), platform{ExternalID: 2 + id, Name: strings.Repeat("x", 500)}); err == nil && ok {
			added++
		}
	}
	assert.Less(t, added, 101)
	requirePlatforms(t, store, added)
}

func TestOpenStore(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "mysql://host/db", "platforms.db"} {
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

// testStore is the contract of every commandStore. open returns a new, empty one.
func testStore(t *testing.T, open func(t testing.TB) commandStore) {
	t.Run("prepare can be called again and keeps the data", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 1, Name: "x"})
		require.NoError(t, store.migrate(t.Context()))
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 1)
	})

	t.Run("platforms are listed in the order of their ids", func(t *testing.T) {
		store := open(t)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Empty(t, platforms)

		addPlatforms(t, store,
			platform{ExternalID: 40, Name: "d"}, platform{ExternalID: math.MaxInt32, Name: "last"}, platform{ExternalID: 7, Name: "a"})
		platforms, err = store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{
			{ExternalID: 7, Name: "a"}, {ExternalID: 40, Name: "d"}, {ExternalID: math.MaxInt32, Name: "last"},
		}, platforms)
	})

	t.Run("addPlatform leaves a known platform alone, its name included", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "first"})
		added, err := store.addPlatform(t.Context(), platform{ExternalID: 4, Name: "second"})
		require.NoError(t, err)
		assert.False(t, added)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "first"}}, platforms)
	})

	t.Run("many calls of addPlatform with one platform store it once", func(t *testing.T) {
		store := open(t)
		var added atomic.Int32
		inParallel(t, 8, func(int) error {
			ok, err := store.addPlatform(t.Context(), platform{ExternalID: 4, Name: "x"})
			if ok {
				added.Add(1)
			}
			return err
		})
		assert.EqualValues(t, 1, added.Load())
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 1)
	})

	t.Run("a platform's id is its ExternalID everywhere", func(t *testing.T) {
		store := open(t)
		// Descending and with gaps: the store's own ids, 1 2 3 4, are other
		// platforms' ExternalIDs, and would show.
		ids := []int32{100, 4, 3, 1}
		for _, id := range ids {
			addPlatforms(t, store, platform{ExternalID: id, Name: "x"})
		}
		for _, id := range ids {
			created := createCommand(t, store, command{ID: 99, HowTo: "h", CommandLine: "c", PlatformID: id})
			assert.Equal(t, id, created.PlatformID)
			assert.NotEqual(t, int32(99), created.ID, "the store assigns the id")

			got, err := store.command(t.Context(), id, created.ID)
			require.NoError(t, err)
			assert.Equal(t, created, got)
			commands, err := store.commands(t.Context(), id)
			require.NoError(t, err)
			assert.Equal(t, []command{created}, commands)
			platform, err := store.platform(t.Context(), id)
			require.NoError(t, err)
			assert.Equal(t, id, platform.ExternalID)
		}
		// 2 is an id inside the store, but no platform's ExternalID.
		_, err := store.createCommand(t.Context(), command{HowTo: "h", CommandLine: "c", PlatformID: 2})
		assert.ErrorIs(t, err, errPlatformNotFound)
	})

	t.Run("commands are listed in the order of their ids", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		first := createCommand(t, store, command{HowTo: "z", CommandLine: "z", PlatformID: 4})
		second := createCommand(t, store, command{HowTo: "a", CommandLine: "a", PlatformID: 4})
		assert.Greater(t, second.ID, first.ID)
		commands, err := store.commands(t.Context(), 4)
		require.NoError(t, err)
		assert.Equal(t, []command{first, second}, commands)
	})

	t.Run("an unknown platform differs from one without commands", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		commands, err := store.commands(t.Context(), 4)
		require.NoError(t, err)
		assert.Empty(t, commands)
		for _, id := range []int32{5, 0, -1, math.MaxInt32, math.MinInt32} {
			_, err := store.platform(t.Context(), id)
			assert.ErrorIs(t, err, errPlatformNotFound)
			_, err = store.commands(t.Context(), id)
			assert.ErrorIs(t, err, errPlatformNotFound)
			_, err = store.command(t.Context(), id, 1)
			assert.ErrorIs(t, err, errPlatformNotFound)
			_, err = store.createCommand(t.Context(), command{HowTo: "h", CommandLine: "c", PlatformID: id})
			assert.ErrorIs(t, err, errPlatformNotFound)
		}
	})

	t.Run("a command of another platform is not found", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"})
		created := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		_, err := store.command(t.Context(), 5, created.ID)
		assert.ErrorIs(t, err, errCommandNotFound)
		for _, id := range []int32{created.ID + 1, 0, -1, math.MaxInt32} {
			_, err := store.command(t.Context(), 4, id)
			assert.ErrorIs(t, err, errCommandNotFound)
		}
	})

	t.Run("texts are returned as they were stored", func(t *testing.T) {
		store := open(t)
		var id int32
		for what, text := range oddTexts() {
			id++
			addPlatforms(t, store, platform{ExternalID: id, Name: text})
			platform, err := store.platform(t.Context(), id)
			require.NoError(t, err)
			assert.True(t, platform.Name == text, "name: %s", what)

			created := createCommand(t, store, command{HowTo: text, CommandLine: text, PlatformID: id})
			command, err := store.command(t.Context(), id, created.ID)
			require.NoError(t, err)
			assert.True(t, command.HowTo == text && command.CommandLine == text, "command: %s", what)
		}
	})

	t.Run("a cancelled context is an error and does no harm", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		created := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		cancelled, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range storeCalls(store) {
			assert.ErrorIs(t, call(cancelled), context.Canceled, name)
		}

		// Cancelled at any moment: a driver may drop its connection then, and a
		// database in memory goes with its connection.
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			var calls sync.WaitGroup
			for _, call := range storeCalls(store) {
				calls.Go(func() { _ = call(ctx) })
			}
			cancel()
			calls.Wait()
		}
		got, err := store.command(t.Context(), 4, created.ID)
		require.NoError(t, err)
		assert.Equal(t, created, got)
	})

	t.Run("a closed store returns an error other than errNotFound", func(t *testing.T) {
		store := open(t)
		require.NoError(t, store.close())
		for name, call := range storeCalls(store) {
			err := call(t.Context())
			assert.Error(t, err, name)
			assert.False(t, errors.Is(err, errPlatformNotFound) || errors.Is(err, errCommandNotFound), name)
		}
	})

	t.Run("concurrent calls lose nothing", func(t *testing.T) {
		store := open(t)
		// Few: a slow disk syncs one after the other, and a writer waits for 5 s at most.
		const workers, each = 8, 5
		inParallel(t, workers, func(worker int) error {
			id := int32(worker + 1)
			if _, err := store.addPlatform(t.Context(), platform{ExternalID: id, Name: "x"}); err != nil {
				return err
			}
			for range each {
				created, err := store.createCommand(t.Context(), command{HowTo: "h", CommandLine: "c", PlatformID: id})
				if err != nil {
					return err
				}
				if _, err := store.command(t.Context(), id, created.ID); err != nil {
					return err
				}
				if _, err := store.platforms(t.Context()); err != nil {
					return err
				}
			}
			return nil
		})
		seen := map[int32]bool{}
		for worker := range workers {
			commands, err := store.commands(t.Context(), int32(worker+1))
			require.NoError(t, err)
			assert.Len(t, commands, each)
			for _, c := range commands {
				assert.False(t, seen[c.ID], "id %d given twice", c.ID)
				seen[c.ID] = true
			}
		}
	})
}

// storeCalls are all calls of a store that reach its database. platform 4 and
// command 1 are expected to be there.
func storeCalls(store commandStore) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"migrate":   store.migrate,
		"platforms": func(ctx context.Context) error { _, err := store.platforms(ctx); return err },
		"platform":  func(ctx context.Context) error { _, err := store.platform(ctx, 4); return err },
		"addPlatform": func(ctx context.Context) error {
			_, err := store.addPlatform(ctx, platform{ExternalID: 5, Name: "y"})
			return err
		},
		"commands": func(ctx context.Context) error { _, err := store.commands(ctx, 4); return err },
		"command":  func(ctx context.Context) error { _, err := store.command(ctx, 4, 1); return err },
		"createCommand": func(ctx context.Context) error {
			_, err := store.createCommand(ctx, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
			return err
		},
	}
}

func addPlatforms(t testing.TB, store commandStore, platforms ...platform) {
	t.Helper()
	for _, p := range platforms {
		added, err := store.addPlatform(t.Context(), p)
		require.NoError(t, err)
		require.True(t, added)
	}
}

func createCommand(t testing.TB, store commandStore, c command) command {
	t.Helper()
	created, err := store.createCommand(t.Context(), c)
	require.NoError(t, err)
	require.Positive(t, created.ID)
	return created
}

// memoryStore returns an empty store in memory.
func memoryStore(t testing.TB) commandStore {
	t.Helper()
	return openTestStore(t, "sqlite::memory:")
}

// openTestStore returns the store that url names, ready for use.
func openTestStore(t testing.TB, url string) commandStore {
	t.Helper()
	store, err := openStore(url)
	require.NoError(t, err)
	t.Cleanup(func() { store.close() })
	require.NoError(t, store.migrate(t.Context()))
	return store
}
