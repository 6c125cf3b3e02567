package commandsservice

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// serveFile serves the REST API over a new database in a file. Writes is the one
// connection that changes it: a setting of it is that of every write.
func serveFile(t *testing.T) (url, file string, writes *sql.DB) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "commands.db")
	store := openTestStore(t, "sqlite:"+file)
	log, _ := testkit.CaptureLog()
	return testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()), file, store.(*sqliteStore).writes
}

func requireUnavailable(t *testing.T, r testkit.Response) {
	t.Helper()
	testkit.RequireProblem(t, r, http.StatusServiceUnavailable)
	assert.NotEmpty(t, r.Header.Get("Retry-After"))
	assert.NotContains(t, r.Body, "locked")
	assert.NotContains(t, r.Body, "full")
}

// TestLockedDatabase: a POST that meets a locked database gets a 503, stores
// nothing, and succeeds when it is sent again later.
func TestLockedDatabase(t *testing.T) {
	url, file, writes := serveFile(t)
	_, err := writes.Exec(`PRAGMA busy_timeout = 1`)
	require.NoError(t, err)
	other, err := sql.Open("sqlite3", file)
	require.NoError(t, err)
	defer other.Close()
	lock, err := other.Conn(t.Context())
	require.NoError(t, err)
	defer lock.Close()
	_, err = lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	require.NoError(t, err)

	const body = `{"id":4,"name":"x"}`
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms", body))
	assert.Equal(t, "[]\n", testkit.Send(t, "GET", url+"/api/c/platforms", "").Body)
	_, err = lock.ExecContext(t.Context(), `ROLLBACK`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", body).Status)
}

// TestFullDatabase: the same when there is no space.
func TestFullDatabase(t *testing.T) {
	url, _, writes := serveFile(t)
	require.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`).Status)
	var pages int
	require.NoError(t, writes.QueryRow(`PRAGMA page_count`).Scan(&pages))
	_, err := writes.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
	require.NoError(t, err)

	commands := url + "/api/c/platforms/4/commands"
	body := fmt.Sprintf(`{"howTo":"h","commandLine":"%s"}`, strings.Repeat("x", maxCommandLine)) // more than a page
	requireUnavailable(t, testkit.Send(t, "POST", commands, body))
	assert.Equal(t, "[]\n", testkit.Send(t, "GET", commands, "").Body)
	_, err = writes.Exec(`PRAGMA max_page_count = 1000000`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", commands, body).Status)
}

// TestFullDatabaseLosesNothing: of POSTs until no page is left, and beyond, each
// that got a 201 is stored, under its own id.
func TestFullDatabaseLosesNothing(t *testing.T) {
	url, _, writes := serveFile(t)
	require.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`).Status)
	_, err := writes.Exec(`PRAGMA max_page_count = 1`) // as many as it has now
	require.NoError(t, err)
	requireStored(t, url, func(created int) bool { return created < 1000 })
	_, err = writes.Exec(`PRAGMA max_page_count = 1000000`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`).Status)
}

// requireStored posts commands of platform 4 until one is refused, for as long as
// more is true, and requires that each has a 503 or is stored.
func requireStored(t *testing.T, url string, more func(created int) bool) {
	t.Helper()
	commands := url + "/api/c/platforms/4/commands"
	created := map[int32]bool{}
	refused := 0
	for i := 0; refused < 10; i++ { // some after the first, too
		require.True(t, more(len(created)), "none was refused")
		var key []string // for every other one
		if i%2 == 0 {
			key = []string{"Idempotency-Key", fmt.Sprint("key-", i)}
		}
		r := testkit.Send(t, "POST", commands, `{"howTo":"h","commandLine":"c"}`, key...)
		if r.Status != http.StatusCreated {
			requireUnavailable(t, r)
			refused++
			continue
		}
		var c commandRead
		require.NoError(t, json.Unmarshal([]byte(r.Body), &c))
		require.False(t, created[c.ID], "id %d was given twice", c.ID)
		created[c.ID] = true
	}
	var stored []commandRead
	require.NoError(t, json.Unmarshal([]byte(testkit.Send(t, "GET", commands, "").Body), &stored))
	assert.Len(t, stored, len(created))
	for _, c := range stored {
		assert.True(t, created[c.ID], "nothing else is stored")
	}
}

// TestFailedCommit: the error of a commit is that of the call, whatever way the
// call writes. SQLite itself refuses these commits: a hook asks it to.
func TestFailedCommit(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "commands.db")).(*sqliteStore)
	addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
	refuse := func(hook func() int) {
		conn, err := store.writes.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.Raw(func(driver any) error {
			driver.(*sqlite3.SQLiteConn).RegisterCommitHook(hook)
			return nil
		}))
	}
	writes := map[string]func(context.Context) error{}
	for _, name := range []string{"addPlatform", "upsertPlatforms", "createCommand", "createCommandOnce"} {
		writes[name] = storeCalls(store)[name]
	}

	refuse(func() int { return 1 })
	for name, write := range writes {
		for range 3 {
			assert.Error(t, write(t.Context()), name)
		}
	}
	refuse(nil)
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	assert.Len(t, platforms, 1)
	commands, err := allCommands(t.Context(), store, 4)
	require.NoError(t, err)
	assert.Empty(t, commands)
	for name, write := range writes {
		assert.NoError(t, write(t.Context()), name)
	}
}

// TestReadOnlyDatabase: what writes gets a 503, events wait, and later all succeeds.
func TestReadOnlyDatabase(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "commands.db"))
	writes := store.(*sqliteStore).writes
	log, _ := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
	addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
	_, err := writes.Exec(`PRAGMA query_only = 1`)
	require.NoError(t, err)
	const command = `{"howTo":"h","commandLine":"c"}`
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`))
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command))
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command, "Idempotency-Key", "key"))
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/api/c/platforms", "").Status)

	eventsWait(t, store, func() {
		_, err := writes.Exec(`PRAGMA query_only = 0`)
		require.NoError(t, err)
	})
	assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`).Status)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command, "Idempotency-Key", "key").Status)
}

// eventsWait handles an event of platform 7 while the database of store cannot
// be written, calls repair, and requires that the event was stored then.
func eventsWait(t *testing.T, store commandStore, repair func()) {
	t.Helper()
	log, logged := testkit.CaptureLog()
	p := &eventProcessor{store: store, metrics: newEventMetrics(prometheus.NewRegistry()), tracer: noop.NewTracerProvider().Tracer(""), log: log}
	handled := make(chan error)
	go func() {
		handled <- errors.Join(p.process(t.Context(), []bus.Message{{Body: []byte(event(`"Id":7,"Name":"z"`))}})...)
	}()
	testkit.Eventually(t, "the event waits", func() bool { return len(logged.Lines("events wait")) > 0 })
	repair()
	assert.NoError(t, testkit.Receive(t, "the event", handled))
	_, err := store.platform(t.Context(), 7)
	assert.NoError(t, err)
}

// TestReplacedFile: once the file is another or none, nothing is accepted that a
// restart would not find, and /readyz says why.
func TestReplacedFile(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a file that is open cannot be moved")
	}
	for _, suffix := range []string{"", "-wal"} {
		t.Run("commands.db"+suffix, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "commands.db")
			store := openTestStore(t, "sqlite:"+file)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			log, logged := testkit.CaptureLog()
			h := web.NewHealth(slog.New(slog.DiscardHandler), web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
			h.Set(web.Ready)
			url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))
			waitReadyz(t, url, http.StatusOK, "")

			require.NoError(t, os.Rename(file+suffix, file+".moved"))
			const command = `{"howTo":"h","commandLine":"c"}`
			requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command))
			requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command, "Idempotency-Key", "key"))
			requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`))
			assert.NotEmpty(t, logged.Lines(file+suffix))
			testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/readyz", ""), http.StatusServiceUnavailable,
				`{"status":"unavailable","checks":{"database":{"status":"failing","detail":"`+sqlite.ErrReplaced.Error()+`"}}}`)
			testkit.InParallel(t, 16, func(int) error {
				_, err := allPlatforms(t.Context(), store) // by the old file, or an error
				if err != nil && !databaseUnavailable(err) {
					return err
				}
				return nil
			})
			assert.NoFileExists(t, file+suffix, "no new connection has created an empty database")

			eventsWait(t, store, func() { require.NoError(t, os.Rename(file+".moved", file+suffix)) })
			assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", command, "Idempotency-Key", "key").Status)
			waitReadyz(t, url, http.StatusOK, "")
		})
	}
}

// TestReadersOfSQLite: however many read at once, there are only so many
// connections. Each has a cache, and memory that Go does not know of.
func TestReadersOfSQLite(t *testing.T) {
	store := openTestStore(t, "sqlite:"+filepath.Join(t.TempDir(), "commands.db"))
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
