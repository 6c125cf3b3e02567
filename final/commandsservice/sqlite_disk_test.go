//go:build unix

package commandsservice

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
// stored; /readyz says why; events wait.
func TestDiskFailsAtCommit(t *testing.T) {
	if !testkit.Alone(t) { // the limit is that of a process, and go test writes files
		return
	}
	file := filepath.Join(t.TempDir(), "commands.db")
	store := openTestStore(t, "sqlite:"+file)
	addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
	log, logged := testkit.CaptureLog()
	h := web.NewHealth(log, web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
	h.Set(web.Ready)
	url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))

	free := testkit.FillDisk(t, file+"-wal")
	requireStored(t, url, func(created int) bool { return created == 0 })
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`))
	assert.NotEmpty(t, logged.Lines("disk I/O error"))
	testkit.RequireJSON(t, waitReadyz(t, url, http.StatusServiceUnavailable, "disk"), http.StatusServiceUnavailable,
		`{"status":"unavailable","checks":{"database":{"status":"failing","detail":"the database's disk fails"}}}`)
	eventsWait(t, store, free)
	waitReadyz(t, url, http.StatusOK, "")
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`).Status)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`).Status)
}
