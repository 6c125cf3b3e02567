package console

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
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
	output, err := exec.Command(node, "--test", "testdata/reduce.test.mjs").CombinedOutput()
	assert.NoError(t, err, "%s", output)
}
