//go:build unix

package testkit

import (
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Alone reports whether this is the process that was started for this test alone.
// Otherwise it starts that one, and fails the test when the process does.
func Alone(t *testing.T) bool {
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

// FillDisk lets no file of this process grow beyond the size of the file at path,
// until the returned function is called: a write that would is an I/O error.
func FillDisk(t *testing.T, path string) (free func()) {
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
