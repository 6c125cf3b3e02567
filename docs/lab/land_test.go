// Package lab is the old place of docs/tools/lab, for a script of ours that still
// runs `go test ./lab` in docs. It goes when that script names ./tools/lab.
package lab

import (
	"os/exec"
	"testing"
)

// TestDeltasAndTwins runs those tests where they are now.
func TestDeltasAndTwins(t *testing.T) {
	text, err := exec.CommandContext(t.Context(), "go", "test", "-run=Delta|Twin|Copies|Same", "../tools/lab").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
}
