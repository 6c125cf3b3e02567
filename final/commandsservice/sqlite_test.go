package commandsservice

import (
	"database/sql"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveFile serves the REST API over a new database in a file. Every call uses
// the same connection, db, so that a setting of it is that of every call.
func serveFile(t *testing.T) (url, file string, db *sql.DB) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "commands.db")
	store := openTestStore(t, "sqlite:"+file)
	db = store.(*sqliteStore).db
	db.SetMaxOpenConns(1)
	log, _ := captureLog()
	return serve(t, (&restAPI{store: store, log: log}).handler()), file, db
}

func requireUnavailable(t *testing.T, r response) {
	t.Helper()
	requireProblem(t, r, http.StatusServiceUnavailable)
	assert.NotEmpty(t, r.header.Get("Retry-After"))
	assert.NotContains(t, r.body, "locked")
	assert.NotContains(t, r.body, "full")
}

// TestLockedDatabase: a POST that meets a locked database gets a 503, stores
// nothing, and succeeds when it is sent again later.
func TestLockedDatabase(t *testing.T) {
	url, file, db := serveFile(t)
	_, err := db.Exec(`PRAGMA busy_timeout = 1`)
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
	requireUnavailable(t, send(t, "POST", url+"/api/c/platforms", body))
	assert.Equal(t, "[]\n", send(t, "GET", url+"/api/c/platforms", "").body)
	_, err = lock.ExecContext(t.Context(), `ROLLBACK`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusOK, send(t, "POST", url+"/api/c/platforms", body).status)
}

// TestFullDatabase: the same when there is no space.
func TestFullDatabase(t *testing.T) {
	url, _, db := serveFile(t)
	require.Equal(t, http.StatusOK, send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`).status)
	var pages int
	require.NoError(t, db.QueryRow(`PRAGMA page_count`).Scan(&pages))
	_, err := db.Exec(fmt.Sprintf(`PRAGMA max_page_count = %d`, pages))
	require.NoError(t, err)

	commands := url + "/api/c/platforms/4/commands"
	body := fmt.Sprintf(`{"howTo":"h","commandLine":"%s"}`, strings.Repeat("x", maxCommandLine)) // more than a page
	requireUnavailable(t, send(t, "POST", commands, body))
	assert.Equal(t, "[]\n", send(t, "GET", commands, "").body)
	_, err = db.Exec(`PRAGMA max_page_count = 1000000`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, send(t, "POST", commands, body).status)
}
