package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestSQLiteInMemory(t *testing.T) {
	testStore(t, memoryStore)
}

func TestSQLiteFile(t *testing.T) {
	testStore(t, func(t testing.TB) commandStore {
		return openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "a file?, 100%.db"))
	})

	t.Run("several processes share a file", func(t *testing.T) {
		url := "sqlite:" + filepath.Join(t.TempDir(), "commands.db")
		stores := make([]commandStore, 4) // each with its own connections, as in another process
		for i := range stores {
			var err error
			stores[i], err = openStore(url)
			require.NoError(t, err)
			defer stores[i].close()
		}
		log, _ := testkit.CaptureLog()
		testkit.InParallel(t, len(stores), func(i int) error { return setUp(t.Context(), stores[i], testkit.Patience, log) })
		// On a slow disk, the others may have the lock for longer than one waits.
		retried := func(write func() error) error {
			for {
				if err := write(); !databaseUnavailable(err) {
					return err
				}
			}
		}
		var total atomic.Int32
		testkit.InParallel(t, len(stores), func(i int) error {
			for batch := range slices.Chunk(numbered(1, 1000), 50) {
				err := retried(func() error {
					stored, err := stores[i].upsertPlatforms(t.Context(), batch)
					total.Add(int32(stored))
					return err
				})
				if err != nil {
					return err
				}
				err = retried(func() error {
					_, err := stores[i].createCommand(t.Context(), command{HowTo: "h", CommandLine: "c", PlatformID: 1})
					return err
				})
				if err != nil {
					return err
				}
			}
			return nil
		})
		assert.EqualValues(t, 1000, total.Load())
		for _, store := range stores {
			platforms, err := allPlatforms(t.Context(), store)
			require.NoError(t, err)
			assert.Equal(t, numbered(1, 1000), platforms)
			commands, err := allCommands(t.Context(), store, 1)
			require.NoError(t, err)
			assert.Len(t, commands, 80)
		}
	})

	t.Run("what was stored outlives Close", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "commands.db")
		store := openTestStore(t, "sqlite:"+file)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		created := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		require.NoError(t, store.close())

		store = openTestStore(t, "sqlite:"+file)
		commands, err := allCommands(t.Context(), store, 4)
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

// TestForeignDatabase: a file of another service is left unchanged.
func TestForeignDatabase(t *testing.T) {
	for what, content := range map[string]string{
		"PlatformService's":      `CREATE TABLE platforms (id INTEGER PRIMARY KEY, name TEXT, publisher TEXT, cost TEXT)`,
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

	// As the releases before this one created it, with and without a mark.
	const oldSchema = `
		CREATE TABLE platforms (
			id          INTEGER PRIMARY KEY AUTOINCREMENT,
			external_id INTEGER NOT NULL UNIQUE,
			name        TEXT NOT NULL
		);
		CREATE TABLE commands (
			id           INTEGER PRIMARY KEY AUTOINCREMENT,
			how_to       TEXT NOT NULL,
			command_line TEXT NOT NULL,
			platform_id  INTEGER NOT NULL REFERENCES platforms (id)
		);
		CREATE INDEX commands_platform ON commands (platform_id);
		INSERT INTO platforms (external_id, name) VALUES (9, 'nine'), (4, 'four');
		INSERT INTO commands (id, how_to, command_line, platform_id) VALUES (7, 'h', 'c', 2);`
	for what, mark := range map[string]string{
		"without a mark":       "",
		"of chapters 02 to 07": fmt.Sprintf(`PRAGMA application_id = %d; PRAGMA journal_mode = WAL`, sqliteApplicationID),
	} {
		t.Run("a file "+what+" is adopted, with all its data", func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "x.db")
			db, err := sql.Open("sqlite3", file)
			require.NoError(t, err)
			_, err = db.Exec(oldSchema + mark)
			require.NoError(t, err)
			require.NoError(t, db.Close())

			store := openTestStore(t, "sqlite:"+file)
			platforms, err := allPlatforms(t.Context(), store)
			require.NoError(t, err)
			assert.Equal(t, []platform{{ExternalID: 4, Name: "four"}, {ExternalID: 9, Name: "nine"}}, platforms)
			kept := command{ID: 7, HowTo: "h", CommandLine: "c", PlatformID: 4}
			next := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
			assert.EqualValues(t, 8, next.ID, "ids continue where they were")
			commands, err := allCommands(t.Context(), store, 4)
			require.NoError(t, err)
			assert.Equal(t, []command{kept, next}, commands)
		})
	}
}

// requireForeign requires file to be refused, and not changed.
func requireForeign(t *testing.T, file string) {
	t.Helper()
	before, err := os.ReadFile(file)
	require.NoError(t, err)
	store, err := openStore("sqlite:" + file)
	require.NoError(t, err)
	defer store.close()
	require.ErrorIs(t, store.migrate(t.Context()), errForeignDatabase)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestOpenStore(t *testing.T) {
	for _, url := range []string{"", "sqlite", "sqlite:", "mysql://sa:secret@host/", "platforms.db",
		"sqlserver://sa:secret@host", "sqlserver://sa:secret%@host?database=x", "Server=host;User Id=sa;Password=secret"} {
		t.Run("refuses "+url, func(t *testing.T) {
			_, err := openStore(url)
			require.ErrorContains(t, err, "COMMANDS_DATABASE_URL")
		})
	}
	t.Run("a folder that is not there is an error of migrate", func(t *testing.T) {
		store, err := openStore("sqlite:" + filepath.Join(t.TempDir(), "missing", "x.db"))
		require.NoError(t, err)
		defer store.close()
		assert.ErrorContains(t, store.migrate(t.Context()), "open database")
	})
}

// testStore is the contract of every commandStore. open returns a new, empty one.
func testStore(t *testing.T, open func(t testing.TB) commandStore) {
	t.Run("idempotency keys", func(t *testing.T) { testIdempotencyKeys(t, open) })

	t.Run("prepare can be called again and keeps the data", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 1, Name: "x"})
		require.NoError(t, store.migrate(t.Context()))
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Len(t, platforms, 1)
	})

	t.Run("platforms are listed in the order of their ids", func(t *testing.T) {
		store := open(t)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Empty(t, platforms)

		addPlatforms(t, store,
			platform{ExternalID: 40, Name: "d"}, platform{ExternalID: math.MaxInt32, Name: "last"}, platform{ExternalID: 7, Name: "a"})
		platforms, err = allPlatforms(t.Context(), store)
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
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "first"}}, platforms)
	})

	t.Run("many calls of addPlatform with one platform store it once", func(t *testing.T) {
		store := open(t)
		var added atomic.Int32
		testkit.InParallel(t, 8, func(int) error {
			ok, err := store.addPlatform(t.Context(), platform{ExternalID: 4, Name: "x"})
			if ok {
				added.Add(1)
			}
			return err
		})
		assert.EqualValues(t, 1, added.Load())
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Len(t, platforms, 1)
	})

	t.Run("upsertPlatforms stores what is new, renames what is known, and counts both", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "first"}, platform{ExternalID: 5, Name: "same"}, platform{ExternalID: 6, Name: "Case"})
		created := createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		stored, err := store.upsertPlatforms(t.Context(), []platform{
			{ExternalID: 4, Name: "second"}, {ExternalID: 5, Name: "same"}, {ExternalID: 6, Name: "case "}, {ExternalID: 7, Name: "new"}})
		require.NoError(t, err)
		assert.Equal(t, 3, stored)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "second"}, {ExternalID: 5, Name: "same"},
			{ExternalID: 6, Name: "case "}, {ExternalID: 7, Name: "new"}}, platforms)
		commands, err := allCommands(t.Context(), store, 4)
		require.NoError(t, err)
		assert.Equal(t, []command{created}, commands, "a platform keeps its commands")

		stored, err = store.upsertPlatforms(t.Context(), platforms)
		require.NoError(t, err)
		assert.Zero(t, stored, "again")
		stored, err = store.upsertPlatforms(t.Context(), nil)
		require.NoError(t, err)
		assert.Zero(t, stored, "none")
	})

	t.Run("upsertPlatforms stores the last of several with one id", func(t *testing.T) {
		store := open(t)
		stored, err := store.upsertPlatforms(t.Context(), []platform{
			{ExternalID: 4, Name: "a"}, {ExternalID: 5, Name: "x"}, {ExternalID: 4, Name: "b"}})
		require.NoError(t, err)
		assert.Equal(t, 2, stored)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "b"}, {ExternalID: 5, Name: "x"}}, platforms)
	})

	t.Run("upsertPlatforms stores more than fit into one statement", func(t *testing.T) {
		store := open(t)
		many := numbered(1, 2345)
		stored, err := store.upsertPlatforms(t.Context(), many)
		require.NoError(t, err)
		assert.Equal(t, len(many), stored)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, many, platforms)
	})

	t.Run("upsertPlatforms and addPlatform of the same platforms by many, in any order, store each once", func(t *testing.T) {
		store := open(t)
		var total atomic.Int32
		testkit.InParallel(t, 8, func(i int) error {
			platforms := numbered(1, 300)
			if i%2 == 1 {
				slices.Reverse(platforms)
			}
			added, err := store.addPlatform(t.Context(), platforms[i])
			if err != nil {
				return err
			}
			if added {
				total.Add(1)
			}
			stored, err := store.upsertPlatforms(t.Context(), platforms)
			total.Add(int32(stored))
			return err
		})
		assert.EqualValues(t, 300, total.Load())
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, numbered(1, 300), platforms)
	})

	t.Run("upsertPlatforms stores all or none, whenever it is cancelled", func(t *testing.T) {
		store := open(t)
		for round := range 40 {
			batch := numbered(int32(round*1000+1), 1000)
			ctx, cancel := context.WithCancel(t.Context())
			result := make(chan error, 1)
			go func() {
				_, err := store.upsertPlatforms(ctx, batch)
				result <- err
			}()
			for range round * 100 {
				runtime.Gosched() // later in each round
			}
			cancel()
			err := testkit.Receive(t, "the end of upsertPlatforms", result)
			platforms, listErr := allPlatforms(t.Context(), store)
			require.NoError(t, listErr)
			count := 0
			for _, p := range platforms {
				if p.ExternalID >= batch[0].ExternalID {
					count++
				}
			}
			if err == nil {
				assert.Equal(t, len(batch), count)
			} else {
				assert.Contains(t, []int{0, len(batch)}, count, err) // the end of Commit may have been cut off
			}
		}
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
			commands, err := allCommands(t.Context(), store, id)
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
		commands, err := allCommands(t.Context(), store, 4)
		require.NoError(t, err)
		assert.Equal(t, []command{first, second}, commands)
	})

	t.Run("platforms after an id are listed in order, up to a limit", func(t *testing.T) {
		store := open(t)
		all := []platform{{ExternalID: 3, Name: "c"}, {ExternalID: 7, Name: "b"}, {ExternalID: math.MaxInt32, Name: "a"}}
		addPlatforms(t, store, all[2], all[0], all[1])
		for _, row := range []struct {
			after     int32
			limit     int
			platforms []platform
		}{
			{0, 10, all}, {0, 3, all}, {0, 2, all[:2]}, {3, 1, all[1:2]}, {4, 9, all[1:]},
			{math.MaxInt32, 1, nil}, {math.MinInt32, 1, all[:1]},
		} {
			platforms, more, err := store.platformsAfter(t.Context(), row.after, row.limit)
			require.NoError(t, err)
			assert.Equal(t, row.platforms, platforms, "%d after %d", row.limit, row.after)
			assert.Equal(t, len(platforms) > 0 && platforms[len(platforms)-1] != all[2], more, "more than %d after %d", row.limit, row.after)
		}
	})

	t.Run("commands after an id are listed in order, up to a limit, those of one platform", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"}, platform{ExternalID: 6, Name: "z"})
		var all []command
		for range 5 {
			all = append(all, createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4}))
			createCommand(t, store, command{HowTo: "other", CommandLine: "other", PlatformID: 5})
		}
		for _, row := range []struct {
			platform, after int32
			limit           int
			commands        []command
		}{
			{4, 0, 10, all}, {4, 0, 5, all}, {4, 0, 2, all[:2]}, {4, all[1].ID, 2, all[2:4]}, {4, all[3].ID, 9, all[4:]},
			{4, all[4].ID, 1, nil}, {4, math.MaxInt32, 1, nil}, {4, math.MinInt32, 1, all[:1]}, {6, 0, 1, nil},
		} {
			commands, more, err := store.commandsAfter(t.Context(), row.platform, row.after, row.limit)
			require.NoError(t, err)
			assert.Equal(t, row.commands, commands, "%d of %d after %d", row.limit, row.platform, row.after)
			assert.Equal(t, len(commands) > 0 && commands[len(commands)-1] != all[4], more, "more than %d of %d after %d", row.limit, row.platform, row.after)
		}
		for _, id := range []int32{7, 0, -1, math.MaxInt32, math.MinInt32} {
			_, _, err := store.commandsAfter(t.Context(), id, 0, 1)
			assert.ErrorIs(t, err, errPlatformNotFound)
		}
	})

	t.Run("a page ends with the platform or command that reaches the most text", func(t *testing.T) {
		store := open(t)
		wide := make([]platform, 200) // 2,000 bytes each
		for i := range wide {
			wide[i] = platform{ExternalID: int32(i + 1), Name: strings.Repeat("😀", maxName)}
		}
		_, err := store.upsertPlatforms(t.Context(), wide)
		require.NoError(t, err)
		platforms, more, err := store.platformsAfter(t.Context(), 0, 1000)
		require.NoError(t, err)
		assert.Len(t, platforms, web.MaxListText/2000+1)
		assert.True(t, more)
		platforms, err = allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, wide, platforms)

		long := command{HowTo: strings.Repeat("😀", maxHowTo), CommandLine: strings.Repeat("😀", maxCommandLine), PlatformID: 4} // 40,000 bytes
		for range 6 {
			createCommand(t, store, long)
		}
		commands, more, err := store.commandsAfter(t.Context(), 4, 0, 1000)
		require.NoError(t, err)
		assert.Len(t, commands, 4)
		assert.True(t, more)
		commands, err = allCommands(t.Context(), store, 4)
		require.NoError(t, err)
		assert.Len(t, commands, 6)
	})

	t.Run("an unknown platform differs from one without commands", func(t *testing.T) {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		commands, err := allCommands(t.Context(), store, 4)
		require.NoError(t, err)
		assert.Empty(t, commands)
		for _, id := range []int32{5, 0, -1, math.MaxInt32, math.MinInt32} {
			_, err := store.platform(t.Context(), id)
			assert.ErrorIs(t, err, errPlatformNotFound)
			_, err = allCommands(t.Context(), store, id)
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
		for what, text := range testkit.OddTexts() {
			id++
			addPlatforms(t, store, platform{ExternalID: id, Name: text})
			_, err := store.upsertPlatforms(t.Context(), []platform{{ExternalID: id + 1000, Name: text}, {ExternalID: id + 2000, Name: text}})
			require.NoError(t, err)
			for _, id := range []int32{id, id + 1000, id + 2000} {
				platform, err := store.platform(t.Context(), id)
				require.NoError(t, err)
				assert.True(t, platform.Name == text, "name: %s", what)
			}
			stored, err := store.upsertPlatforms(t.Context(), []platform{{ExternalID: id, Name: text}})
			require.NoError(t, err)
			assert.Zero(t, stored, "the same name: %s", what)

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
		const workers, each = 8, 20
		testkit.InParallel(t, workers, func(worker int) error {
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
				if _, err := allPlatforms(t.Context(), store); err != nil {
					return err
				}
			}
			return nil
		})
		seen := map[int32]bool{}
		for worker := range workers {
			commands, err := allCommands(t.Context(), store, int32(worker+1))
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
		"migrate": store.migrate,
		"platformsAfter": func(ctx context.Context) error {
			_, _, err := store.platformsAfter(ctx, 0, 1)
			return err
		},
		"platform": func(ctx context.Context) error { _, err := store.platform(ctx, 4); return err },
		"addPlatform": func(ctx context.Context) error {
			_, err := store.addPlatform(ctx, platform{ExternalID: 5, Name: "y"})
			return err
		},
		"upsertPlatforms": func(ctx context.Context) error {
			_, err := store.upsertPlatforms(ctx, []platform{{ExternalID: 6, Name: "z"}})
			return err
		},
		"ping": store.ping,
		"commandsAfter": func(ctx context.Context) error {
			_, _, err := store.commandsAfter(ctx, 4, 0, 1)
			return err
		},
		"command": func(ctx context.Context) error { _, err := store.command(ctx, 4, 1); return err },
		"createCommand": func(ctx context.Context) error {
			_, err := store.createCommand(ctx, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
			return err
		},
		"createCommandOnce": func(ctx context.Context) error {
			_, _, err := store.createCommandOnce(ctx, "key", command{HowTo: "h", CommandLine: "c", PlatformID: 4})
			return err
		},
	}
}

// allPlatforms returns all platforms in ExternalID order.
func allPlatforms(ctx context.Context, store commandStore) (all []platform, err error) {
	for more := true; more && err == nil; {
		var page []platform
		var after int32
		if len(all) > 0 {
			after = all[len(all)-1].ExternalID
		}
		page, more, err = store.platformsAfter(ctx, after, math.MaxInt32)
		all = append(all, page...)
	}
	return all, err
}

// allCommands returns the commands of a platform in id order, or errPlatformNotFound.
func allCommands(ctx context.Context, store commandStore, platformID int32) (all []command, err error) {
	for more := true; more && err == nil; {
		var page []command
		var after int32
		if len(all) > 0 {
			after = all[len(all)-1].ID
		}
		page, more, err = store.commandsAfter(ctx, platformID, after, math.MaxInt32)
		all = append(all, page...)
	}
	return all, err
}

func addPlatforms(t testing.TB, store commandStore, platforms ...platform) {
	t.Helper()
	for _, p := range platforms {
		added, err := store.addPlatform(t.Context(), p)
		require.NoError(t, err)
		require.True(t, added)
	}
}

// numbered returns platforms with consecutive ids.
func numbered(first int32, count int) []platform {
	platforms := make([]platform, count)
	for i := range platforms {
		id := first + int32(i)
		platforms[i] = platform{ExternalID: id, Name: fmt.Sprint("platform ", id)}
	}
	return platforms
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
