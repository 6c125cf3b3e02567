//go:build unix

package platformservice

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"

	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestDiskFailsAtCommit: a commit that the disk refuses is a 503, and nothing is
// stored; /readyz says why.
func TestDiskFailsAtCommit(t *testing.T) {
	if !testkit.Alone(t) { // the limit is that of a process, and go test writes files
		return
	}
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	createPlatform(t, store, "x")
	log, logged := testkit.CaptureLog()
	h := web.NewHealth(log, web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
	h.Set(web.Ready)
	url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))

	free := testkit.FillDisk(t, file+"-wal")
	requireUnavailable(t, url)
	for name, write := range storeWrites(store) {
		if err := write(t.Context()); err != nil { // some change nothing here, so nothing is written
			assert.True(t, databaseUnavailable(err), name)
		}
	}
	assert.NotEmpty(t, logged.Lines("disk I/O error"))
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/readyz", ""), http.StatusServiceUnavailable,
		`{"status":"unavailable","checks":{"database":{"status":"failing","detail":"the database's disk fails"}}}`)
	free()
	requireAvailable(t, url, store, 1)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/readyz", "").Status)
}
