//go:build unix

package platformservice

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
// stored; /readyz says why.
func TestDiskFailsAtCommit(t *testing.T) {
	if !alone(t) { // the limit is that of a process, and go test writes files
		return
	}
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	createPlatform(t, store, "x")
	log, logged := testkit.CaptureLog()
	h := web.NewHealth(log, web.Check{Name: "database", Failing: "no response", Reason: sqlite.Reason, Run: store.ping})
	h.Set("ready")
	url := testkit.Serve(t, h.Handler((&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()))

	free := fillDisk(t, file+"-wal")
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
