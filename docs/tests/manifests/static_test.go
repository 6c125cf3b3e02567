package manifests

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// accepted are kube-score's criticisms that production does not follow, by its name for
// the check, each with the reason.
var accepted = map[string]string{
	"container-security-context-user-group-id":          "the user is the image's, and its number would be in two places",
	"container-image-pull-policy":                       "a version does not change, and Always makes each start depend on the registry",
	"container-security-context-readonlyrootfilesystem": "SQL Server writes outside of its volume; the rule security of this package holds the others to it",
}

// A second opinion: what kube-score calls critical in the overlay production.
func TestProductionByKubeScore(t *testing.T) {
	built, err := build(filepath.Join(root, "final", "k8s", "overlays", "production"))
	require.NoError(t, err)
	assert.Empty(t, critical(t, built))
}

func TestKubeScoreSeesAMistake(t *testing.T) {
	built, err := build(filepath.Join(root, "final", "k8s", "overlays", "production"))
	require.NoError(t, err)
	broken := bytes.ReplaceAll(built, []byte("minAvailable: 1"), []byte("minAvailable: 9"))
	broken = bytes.ReplaceAll(broken, []byte("cpu: \"1\""), []byte("pods: \"1\""))
	assert.NotEmpty(t, critical(t, broken))
}

// kubeScore is run, and not imported: it needs older modules of Kubernetes.
const kubeScore = "github.com/zegl/kube-score/cmd/kube-score@v1.20.0"

// critical are the checks that kube-score gives its worst grade, with their objects.
func critical(t *testing.T, stream []byte) []string {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", kubeScore, "score", "-", "--output-format", "json", "--kubernetes-version", "v1.30")
	command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	command.Stdin = bytes.NewReader(stream)
	var complaints bytes.Buffer
	command.Stderr = &complaints
	output, err := command.Output() // its status is 1 when something is critical
	var objects []struct {
		Name   string `json:"object_name"`
		Checks []struct {
			Check    struct{ ID string }
			Grade    int
			Skipped  bool
			Comments []struct{ Path, Summary string }
		}
	}
	if json.Unmarshal(output, &objects) != nil || len(objects) == 0 {
		t.Fatalf("%s: %v\n%s", kubeScore, err, complaints.String())
	}
	var found []string
	for _, object := range objects {
		for _, one := range object.Checks {
			if one.Grade > 1 || one.Skipped || accepted[one.Check.ID] != "" {
				continue
			}
			for _, comment := range one.Comments {
				found = append(found, strings.Join([]string{object.Name, one.Check.ID, comment.Path, comment.Summary}, " "))
			}
		}
	}
	return found
}

func workflows(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, ".github", "workflows", "*.yml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// actionlint is run, and not imported: it needs an older module for YAML.
const actionlint = "github.com/rhysd/actionlint/cmd/actionlint@v1.7.12"

func TestWorkflowsByActionlint(t *testing.T) {
	lint := func(files ...string) (string, error) {
		command := exec.CommandContext(t.Context(), "go", append([]string{"run", actionlint, "-shellcheck=", "-pyflakes="}, files...)...)
		command.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
		output, err := command.CombinedOutput()
		return string(output), err
	}
	output, err := lint(workflows(t)...)
	require.NoError(t, err, output)
	mistake := filepath.Join(t.TempDir(), "x.yml")
	require.NoError(t, os.WriteFile(mistake, []byte("on: push\njobs:\n  x:\n    runs-on: ubuntu-latest\n    steps:\n      - run: ${{ github.nothing }}\n"), 0o600))
	output, err = lint(mistake)
	require.Error(t, err)
	assert.Contains(t, output, "property \"nothing\" is not defined")
}

var (
	uses   = regexp.MustCompile(`(?m)^\s*(?:- )?uses: (.*)$`)
	pinned = regexp.MustCompile(`^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v[0-9.]+$`)
)

// An action's tag can be moved to other code; a commit cannot. And a job has only the
// permissions that it needs, which it or its workflow lists.
func TestWorkflowsPinActionsAndPermissions(t *testing.T) {
	for _, path := range workflows(t) {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, found := range uses.FindAllStringSubmatch(string(text), -1) {
			assert.Regexp(t, pinned, found[1], path)
		}
		var workflow struct {
			Permissions map[string]string
			Jobs        map[string]struct{ Permissions map[string]string }
		}
		require.NoError(t, yaml.Unmarshal(text, &workflow), path)
		for permission, access := range workflow.Permissions {
			assert.NotEqual(t, "write", access, "%s: each job has %s", path, permission)
		}
		for name, job := range workflow.Jobs {
			assert.True(t, workflow.Permissions["contents"] == "read" || job.Permissions != nil, "%s: job %s lists no permissions", path, name)
		}
	}
}
