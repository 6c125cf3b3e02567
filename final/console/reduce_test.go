package console

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestReducer runs the tests of the page's reducer, in testdata/reduce.test.mjs: with
// the node at NODE, else the one of the PATH. go tool lab test final finds or installs one.
func TestReducer(t *testing.T) {
	node := os.Getenv("NODE")
	if node == "" {
		found, err := exec.LookPath("node")
		if err != nil {
			t.Skip("no node: NODE is not set, and none is in the PATH")
		}
		node = found
	}
	version, err := exec.Command(node, "--version").Output()
	require.NoError(t, err)
	major := 0
	if fmt.Sscanf(string(version), "v%d", &major); major < 20 {
		t.Skipf("this node is too old: %s, and the tests need 20", strings.TrimSpace(string(version)))
	}
	output, err := exec.Command(node, "--test", "testdata/reduce.test.mjs").CombinedOutput()
	assert.NoError(t, err, "%s", output)
}
