package player

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/docs/tools/internal/repo"
)

func TestScriptIsAClassicOne(t *testing.T) {
	root, err := repo.Root()
	require.NoError(t, err)
	script, err := Script(filepath.Join(root, "final", "console", "page", "console"))
	require.NoError(t, err)
	assert.NotRegexp(t, `(?m)^(import|export) `, script)
	assert.Contains(t, script, "function mountPlayer(")

	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("no node in the PATH to run the script with")
	}
	command := exec.Command(node, "-")
	command.Stdin = strings.NewReader(script + "\nif (typeof microcommPlayer.mountPlayer !== 'function' || !microcommPlayer.links) process.exit(1);\n")
	output, err := command.CombinedOutput()
	assert.NoError(t, err, "%s", output)
}
