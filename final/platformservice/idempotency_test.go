package platformservice

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// testIdempotencyKeys is the contract of every platformStore for keys. open
// returns a new, empty one.
func testIdempotencyKeys(t *testing.T, open func(t testing.TB) platformStore) {
	x := platform{Name: "x", Publisher: "p", Cost: "1"}

	t.Run("a key that is known creates nothing, and its platform is replayed", func(t *testing.T) {
		store := open(t)
		first, replayed, err := store.createPlatformOnce(t.Context(), "key", x)
		require.NoError(t, err)
		assert.False(t, replayed)
		again, replayed, err := store.createPlatformOnce(t.Context(), "key", x)
		require.NoError(t, err)
		assert.True(t, replayed)
		assert.Equal(t, first, again)
		assert.Equal(t, 1, countRows(t, store, "platforms"))
		assert.Len(t, pending(t, store), 1)
	})

	t.Run("keys differ by case, by blanks and by length", func(t *testing.T) {
		store := open(t)
		keys := []string{"key", "KEY", "key ", " key", "'", `"`, strings.Repeat("k", 255), strings.Repeat("k", 254)}
		for _, key := range keys {
			_, replayed, err := store.createPlatformOnce(t.Context(), key, x)
			require.NoError(t, err)
			assert.False(t, replayed, key)
		}
		assert.Equal(t, len(keys), countRows(t, store, "platforms"))
	})

	t.Run("a key used with another platform is refused", func(t *testing.T) {
		store := open(t)
		_, _, err := store.createPlatformOnce(t.Context(), "key", x)
		require.NoError(t, err)
		for _, other := range []platform{
			{Name: "y", Publisher: "p", Cost: "1"}, {Name: "x", Publisher: "q", Cost: "1"},
			{Name: "x", Publisher: "p", Cost: "2"}, {Name: "xp", Publisher: "1", Cost: "1"},
		} {
			_, _, err := store.createPlatformOnce(t.Context(), "key", other)
			assert.ErrorIs(t, err, web.ErrKeyReused)
		}
		assert.Equal(t, 1, countRows(t, store, "platforms"))
	})

	t.Run("of many with one key, one creates", func(t *testing.T) {
		store := open(t)
		requireOneCreates(t, store, store)
	})

	t.Run("prune deletes keys after their time", func(t *testing.T) {
		store := open(t)
		_, _, err := store.createPlatformOnce(t.Context(), "old", x)
		require.NoError(t, err)
		execSQL(t, store, `UPDATE idempotency_keys SET created_at = created_at - 25 * 3600000`,
			`UPDATE dbo.IdempotencyKeys SET CreatedAt = DATEADD(hour, -25, CreatedAt)`)
		_, _, err = store.createPlatformOnce(t.Context(), "new", x)
		require.NoError(t, err)
		_, err = store.Prune(t.Context())
		require.NoError(t, err)
		_, replayed, err := store.createPlatformOnce(t.Context(), "new", x)
		require.NoError(t, err)
		assert.True(t, replayed)
		_, replayed, err = store.createPlatformOnce(t.Context(), "old", x)
		require.NoError(t, err)
		assert.False(t, replayed)
	})
}

// requireOneCreates sends one key to each of stores, which are on one database,
// many times at once, and requires one platform.
func requireOneCreates(t *testing.T, stores ...platformStore) {
	t.Helper()
	const each = 8
	ids, replays := make([]int32, each*len(stores)), make([]bool, each*len(stores))
	testkit.InParallel(t, len(ids), func(i int) error {
		created, replayed, err := stores[i%len(stores)].createPlatformOnce(t.Context(), "key", platform{Name: "x", Publisher: "p", Cost: "1"})
		ids[i], replays[i] = created.ID, replayed
		return err
	})
	created := 0
	for i := range ids {
		assert.Equal(t, ids[0], ids[i])
		if !replays[i] {
			created++
		}
	}
	assert.Equal(t, 1, created)
	assert.Equal(t, 1, countRows(t, stores[0], "platforms"))
	assert.Len(t, pending(t, stores[0]), 1)
}

// TestIdempotencyKeyOfTwoReplicas: two processes have a store each.
func TestIdempotencyKeyOfTwoReplicas(t *testing.T) {
	url := "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")
	requireOneCreates(t, openTestStore(t, url), openTestStore(t, url))
}

func TestIdempotencyKey(t *testing.T) {
	const body = `{"name":"x","publisher":"p","cost":"1"}`
	const other = `{"name":"y","publisher":"p","cost":"1"}`

	t.Run("the same request again gets the first response again, after a restart too", func(t *testing.T) {
		file := "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")
		log, _ := testkit.CaptureLog()
		store := openTestStore(t, file)
		url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
		first := testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", "a-key")
		require.Equal(t, http.StatusCreated, first.Status)
		assert.Empty(t, first.Header.Get("Idempotency-Replayed"))
		require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body).Status, "another one, without a key")

		requireReplay := func(url string) {
			t.Helper()
			again := testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", "a-key")
			assert.Equal(t, http.StatusCreated, again.Status)
			assert.Equal(t, first.Body, again.Body)
			assert.Equal(t, first.Header.Get("Location"), again.Header.Get("Location"))
			assert.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
		}
		requireReplay(url)
		require.NoError(t, store.close())
		store = openTestStore(t, file)
		requireReplay(testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))
		assert.Equal(t, 2, countRows(t, store, "platforms"))
	})

	t.Run("another body under the key is a 422", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", "k").Status)
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", other, "Idempotency-Key", "k"), http.StatusUnprocessableEntity)
		assert.Equal(t, 1, countRows(t, store, "platforms"))
	})

	t.Run("a request that was refused uses up no key", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", `{"name":"x","publisher":"p"}`, "Idempotency-Key", "k"), http.StatusBadRequest, "cost")
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", "k").Status)
	})

	t.Run("while the first is being handled it is a 409, which says when to retry", func(t *testing.T) {
		held := holdStore(t)
		first := make(chan testkit.Response, 1)
		go func() { first <- testkit.Send(t, "POST", held.URL+"/api/platforms", body, "Idempotency-Key", "k") }()
		testkit.Receive(t, "the first request", held.Entered)
		second := testkit.Send(t, "POST", held.URL+"/api/platforms", body, "Idempotency-Key", "k")
		testkit.RequireProblem(t, second, http.StatusConflict)
		assert.Equal(t, "1", second.Header.Get("Retry-After"))
		close(held.Release)
		assert.Equal(t, http.StatusCreated, testkit.Receive(t, "the first response", first).Status)
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", held.URL+"/api/platforms", body, "Idempotency-Key", "another").Status)
		again := testkit.Send(t, "POST", held.URL+"/api/platforms", body, "Idempotency-Key", "k")
		assert.Equal(t, "true", again.Header.Get("Idempotency-Replayed"))
	})

	t.Run("a request whose body has not arrived holds no key", func(t *testing.T) {
		held := holdStore(t)
		close(held.Release)
		conn := testkit.Dial(t, held.URL)
		conn.Send(t, fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nIdempotency-Key: k\r\n"+
			"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n", "/api/platforms", len(body)))
		conn.RequireContinue(t)
		assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", held.URL+"/api/platforms", body, "Idempotency-Key", "k").Status)
		conn.Send(t, body)
		replay := conn.Response(t)
		assert.Equal(t, http.StatusCreated, replay.Status)
		assert.Equal(t, "true", replay.Header.Get("Idempotency-Replayed"))
	})

	t.Run("a key is 1 to 255 printable ASCII characters, once", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		for _, key := range []string{"", "a\tb", "é", "😀", strings.Repeat("k", 256)} {
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", key), http.StatusBadRequest, "Idempotency-Key")
		}
		request := testkit.NewRequest(t, "POST", url+"/api/platforms", strings.NewReader(body))
		request.Header["Idempotency-Key"] = []string{"a", "b"}
		testkit.RequireProblem(t, testkit.SendRequest(t, request), http.StatusBadRequest, "Idempotency-Key")
		requireEmpty(t, store)
		for _, key := range []string{"k", `"8e03978e-40d5-43dd-bc93-6894a57f9324"`, "! ~", strings.Repeat("k", 255)} {
			assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body, "Idempotency-Key", key).Status, key)
		}
	})
}
