package commandsservice

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// testIdempotencyKeys is the contract of every commandStore for keys. open
// returns a new, empty one.
func testIdempotencyKeys(t *testing.T, open func(t testing.TB) commandStore) {
	x := command{HowTo: "h", CommandLine: "c", PlatformID: 4}
	openWithPlatforms := func(t testing.TB) commandStore {
		store := open(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "four"}, platform{ExternalID: 5, Name: "five"})
		return store
	}

	t.Run("a key that is known creates nothing, and its command is replayed", func(t *testing.T) {
		store := openWithPlatforms(t)
		first, replayed, err := store.createCommandOnce(t.Context(), "key", x)
		require.NoError(t, err)
		assert.False(t, replayed)
		again, replayed, err := store.createCommandOnce(t.Context(), "key", x)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, first, again)
		requireCommands(t, store, 4, first)
	})

	t.Run("keys differ by case, by blanks and by length", func(t *testing.T) {
		store := openWithPlatforms(t)
		for _, key := range []string{"key", "KEY", "key ", " key", "'", `"`, strings.Repeat("k", 255), strings.Repeat("k", 254)} {
			_, replayed, err := store.createCommandOnce(t.Context(), key, x)
			require.NoError(t, err)
			assert.False(t, replayed, key)
		}
	})

	t.Run("a key used with another command is refused", func(t *testing.T) {
		store := openWithPlatforms(t)
		first, _, err := store.createCommandOnce(t.Context(), "key", x)
		require.NoError(t, err)
		for _, other := range []command{
			{HowTo: "g", CommandLine: "c", PlatformID: 4}, {HowTo: "h", CommandLine: "d", PlatformID: 4}, {HowTo: "h", CommandLine: "c", PlatformID: 5},
		} {
			_, _, err := store.createCommandOnce(t.Context(), "key", other)
			assert.ErrorIs(t, err, web.ErrKeyReused)
		}
		requireCommands(t, store, 4, first)
		requireCommands(t, store, 5)
	})

	t.Run("a command that was refused uses up no key", func(t *testing.T) {
		store := openWithPlatforms(t)
		_, _, err := store.createCommandOnce(t.Context(), "key", command{HowTo: "h", CommandLine: "c", PlatformID: 6})
		require.ErrorIs(t, err, errPlatformNotFound)
		addPlatforms(t, store, platform{ExternalID: 6, Name: "six"})
		_, replayed, err := store.createCommandOnce(t.Context(), "key", command{HowTo: "h", CommandLine: "c", PlatformID: 6})
		require.NoError(t, err)
		assert.False(t, replayed)
	})

	t.Run("of many with one key, one creates", func(t *testing.T) {
		store := openWithPlatforms(t)
		requireOneCreates(t, store, store)
	})

	t.Run("a key is forgotten after its time", func(t *testing.T) {
		store := openWithPlatforms(t)
		_, _, err := store.createCommandOnce(t.Context(), "old", x)
		require.NoError(t, err)
		switch s := store.(type) {
		case *sqliteStore:
			_, err = s.db.Exec(`UPDATE idempotency_keys SET created_at = created_at - 25 * 3600000`)
		case *sqlServerStore:
			_, err = s.db.Exec(`UPDATE dbo.IdempotencyKeys SET CreatedAt = DATEADD(hour, -25, CreatedAt)`)
		}
		require.NoError(t, err)
		for _, key := range []string{"new", "old"} {
			_, replayed, err := store.createCommandOnce(t.Context(), key, x)
			require.NoError(t, err)
			assert.False(t, replayed, key)
		}
		_, replayed, err := store.createCommandOnce(t.Context(), "new", x)
		require.NoError(t, err)
		assert.True(t, replayed)
	})
}

// requireOneCreates sends one key to each of stores, which are on one database
// with platform 4, many times at once, and requires one command.
func requireOneCreates(t *testing.T, stores ...commandStore) {
	t.Helper()
	const each = 8
	commands, replays := make([]command, each*len(stores)), make([]bool, each*len(stores))
	testkit.InParallel(t, len(commands), func(i int) (err error) {
		commands[i], replays[i], err = stores[i%len(stores)].createCommandOnce(t.Context(), "key", command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		return err
	})
	created := 0
	for i := range commands {
		assert.Equal(t, commands[0], commands[i])
		if !replays[i] {
			created++
		}
	}
	assert.Equal(t, 1, created)
	requireCommands(t, stores[0], 4, commands[0])
}

func requireCommands(t testing.TB, store commandStore, platformID int32, want ...command) {
	t.Helper()
	assert.Equal(t, want, commandsOf(t, store, platformID))
}

// TestIdempotencyKeyOfTwoReplicas: two processes have a store each.
func TestIdempotencyKeyOfTwoReplicas(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "commands.db")
	one, two := openTestStore(t, url), openTestStore(t, url)
	addPlatforms(t, one, platform{ExternalID: 4, Name: "four"})
	requireOneCreates(t, one, two)
}

func TestIdempotencyKey(t *testing.T) {
	const body = `{"howTo":"x","commandLine":"c"}`
	const path = "/api/c/platforms/4/commands"
	const other = `{"howTo":"y","commandLine":"c"}`

	t.Run("the same request again gets the first response again, after a restart too", func(t *testing.T) {
		file := "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")
		log, _ := testkit.CaptureLog()
		store := openTestStore(t, file)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "four"})
		url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
		first := testkit.Send(t, "POST", url+path, body, "Idempotency-Key", "a-key")
		require.Equal(t, http.StatusCreated, first.Status)
		assert.Empty(t, first.Header.Get("Idempotency-Replayed"))
		require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+path, body).Status, "another one, without a key")

		requireReplay := func(url string) {
			t.Helper()
			again := testkit.Send(t, "POST", url+path, body, "Idempotency-Key", "a-key")
			assert.Equal(t, http.StatusCreated, again.Status)
			assert.Equal(t, first.Body, again.Body)
			assert.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			assert.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
		}
		requireReplay(url)
		require.NoError(t, store.close())
		store = openTestStore(t, file)
		requireReplay(testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))
		assert.Len(t, commandsOf(t, store, 4), 2)
	})

	t.Run("another body under the key is a 422", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "four"})
		require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+path, body, "Idempotency-Key", "k").Status)
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+path, other, "Idempotency-Key", "k"), http.StatusUnprocessableEntity)
		assert.Len(t, commandsOf(t, store, 4), 1)
	})

	t.Run("a request that was refused uses up no key", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "four"})
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+path, `{"howTo":"x"}`, "Idempotency-Key", "k"), http.StatusBadRequest, "commandLine")
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+path, body, "Idempotency-Key", "k").Status)
	})

	t.Run("while the first is being handled it is a 409, which says when to retry", func(t *testing.T) {
		held := holdStore(t)
		first := make(chan testkit.Response, 1)
		go func() { first <- testkit.Send(t, "POST", held.URL+path, body, "Idempotency-Key", "k") }()
		testkit.Receive(t, "the first request", held.Entered)
		second := testkit.Send(t, "POST", held.URL+path, body, "Idempotency-Key", "k")
		testkit.RequireProblem(t, second, http.StatusConflict)
		assert.Equal(t, "1", second.Header.Get("Retry-After"))
		close(held.Release)
		assert.Equal(t, http.StatusCreated, testkit.Receive(t, "the first response", first).Status)
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", held.URL+path, body, "Idempotency-Key", "another").Status)
		again := testkit.Send(t, "POST", held.URL+path, body, "Idempotency-Key", "k")
		assert.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	})

	t.Run("a request whose body has not arrived holds no key", func(t *testing.T) {
		held := holdStore(t)
		close(held.Release)
		conn := testkit.Dial(t, held.URL)
		conn.Send(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n"+
			"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", path, len(body)))
		conn.RequireContinue(t)
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", held.URL+path, body, "Idempotency-Key", "k").Status)
		conn.Send(t, body)
		replay := conn.Response(t)
		assert.Equal(t, http.StatusCreated, replay.Status)
		assert.Equal(t, "true", replay.Header.Get("Idempotency-Replayed"))
	})

	t.Run("a key is 1 to 255 printable ASCII characters, once", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "four"})
		for _, key := range []string{"", "a\tb", "é", "😀", strings.Repeat("k", 256)} {
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+path, body, "Idempotency-Key", key), http.StatusBadRequest, "Idempotency-Key")
		}
		request := testkit.NewRequest(t, "POST", url+path, strings.NewReader(body))
		request.Header["Idempotency-Key"] = []string{"a", "b"}
		testkit.RequireProblem(t, testkit.SendRequest(t, request), http.StatusBadRequest, "Idempotency-Key")
		assert.Empty(t, commandsOf(t, store, 4))
		for _, key := range []string{"k", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "! ~", strings.Repeat("k", 255)} {
			assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+path, body, "Idempotency-Key", key).Status, key)
		}
	})
}

func commandsOf(t testing.TB, store commandStore, platformID int32) []command {
	t.Helper()
	commands, err := allCommands(t.Context(), store, platformID)
	require.NoError(t, err)
	return commands
}

// unconfirmedStore is a store that does not learn what became of its commits.
type unconfirmedStore struct{ commandStore }

func (s unconfirmedStore) createCommand(ctx context.Context, c command) (command, error) {
	return command{}, fmt.Errorf("create command: %w: %w", sqlserver.ErrNotConfirmed, context.DeadlineExceeded)
}

// TestUnconfirmedCommit: a 503 would say that the command was not created, and a
// client may then create it again.
func TestUnconfirmedCommit(t *testing.T) {
	log, logged := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: unconfirmedStore{memoryStore(t)}, slots: web.NewSlots(1), log: log}).handler())
	r := testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`)
	testkit.RequireProblem(t, r, http.StatusInternalServerError)
	assert.Contains(t, r.Body, "Idempotency-Key")
	assert.Empty(t, r.Header.Get("Retry-After"))
	assert.Len(t, logged.Lines("not confirmed"), 1)
}
