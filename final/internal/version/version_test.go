package version

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestEachProgramPrintsTheVersionItWasBuiltWith(t *testing.T) {
	bin := t.TempDir() + string(filepath.Separator)
	output, err := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin,
		"-ldflags", "-X microcomm/final/internal/version.version=1.2.3", "../../cmd/...").CombinedOutput()
	require.NoError(t, err, string(output))
	programs, err := filepath.Glob(bin + "*")
	require.NoError(t, err)
	require.Len(t, programs, 5)
	for _, program := range programs {
		name := strings.TrimSuffix(filepath.Base(program), ".exe")
		command := exec.CommandContext(t.Context(), program, "--version")
		command.Env = []string{"PLATFORMS_HTTP_ADDR=nowhere"} // it doesn't matter
		output, err := command.Output()
		require.NoError(t, err, name)
		assert.Regexp(t, "^"+name+` 1\.2\.3 \(go[0-9.]+\)\n$`, string(output))
	}
}

func TestOtherArgumentsAreNotAskingForTheVersion(t *testing.T) {
	for _, args := range [][]string{nil, {"list"}, {"--versions"}, {"show", "--version"}} {
		var out strings.Builder
		assert.False(t, Asked("dlq", args, &out), args)
		assert.Empty(t, out.String())
	}
}
