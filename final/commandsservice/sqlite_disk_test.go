//go:build unix

package commandsservice

import (
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// alone reports whether this is the process that was started for this test alone.
// Otherwise it starts that one, and fails the test when the process does.
func alone(t *testing.T) bool {
	t.Helper()
	if os.Getenv("TEST_ALONE") != "" {
		return true
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), "TEST_ALONE=1")
	out, err := child.CombinedOutput()
	assert.NoError(t, err, "%s", out)
	return false
}

// fillDisk lets no file of this process grow beyond the size of the file at path,
// until the returned function is called: a write that would is an I/O error.
func fillDisk(t *testing.T, path string) (free func()) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	signal.Ignore(syscall.SIGXFSZ)
	var before syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &before))
	limit := before
	limit.Cur = uint64(info.Size())
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit))
	return func() { assert.NoError(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &before)) }
}

// TestDiskFailsAtCommit: a commit that the disk refuses is a 503, and nothing is
// stored; /readyz says why; events wait.
func TestDiskFailsAtCommit(t *testing.T) {
	if !alone(t) { // the limit is that of a process, and go test writes files
		return
	}
	file := filepath.Join(t.TempDir(), "commands.db")
	store := openTestStore(t, "sqlite:"+file)
	addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
	log, logged := testkit.CaptureLog()
	h := web.NewHealth(log, web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
	h.Set("ready")
	url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))

	free := fillDisk(t, file+"-wal")
	requireStored(t, url, func(created int) bool { return created == 0 })
	requireUnavailable(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`))
	assert.NotEmpty(t, logged.Lines("disk I/O error"))
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/readyz", ""), http.StatusServiceUnavailable,
		`{"status":"unavailable","checks":{"database":{"status":"failing","detail":"the database's disk fails"}}}`)
	eventsWait(t, store, free)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/readyz", "").Status)
	assert.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`).Status)
	assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":5,"name":"y"}`).Status)
}
