package platformservice

import (
	"context"
	"database/sql"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestLockedDatabase: a POST that meets a locked database gets a 503, stores
// nothing, and succeeds when it is sent again later.
func TestLockedDatabase(t *testing.T) {
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	db := store.(*sqliteStore).db
	db.SetMaxOpenConns(1) // so that the setting is that of every call
	_, err := db.Exec(`PRAGMA busy_timeout = 1`)
	require.NoError(t, err)
	log, logged := captureLog()
	url := serve(t, newAPI(store, log).handler())

	other, err := sql.Open("sqlite3", file)
	require.NoError(t, err)
	defer other.Close()
	lock, err := other.Conn(t.Context())
	require.NoError(t, err)
	defer lock.Close()
	_, err = lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
	require.NoError(t, err)

	const body = `{"name":"x","publisher":"p","cost":"1"}`
	r := send(t, "POST", url+"/api/platforms", body)
	requireProblem(t, r, http.StatusServiceUnavailable)
	assert.NotEmpty(t, r.header.Get("Retry-After"))
	assert.NotContains(t, r.body, "locked")
	assert.Len(t, logged.lines("database is locked"), 1)
	assert.Equal(t, "[]\n", send(t, "GET", url+"/api/platforms", "").body)

	_, err = lock.ExecContext(context.Background(), `ROLLBACK`)
	require.NoError(t, err)
	assert.Equal(t, http.StatusCreated, send(t, "POST", url+"/api/platforms", body).status)
}
