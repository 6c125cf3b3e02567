// Package repo knows the checkout of this repository that a tool runs in.
package repo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/process"
)

// Root returns the checkout's top: the nearest folder upwards from the current
// one that holds the docs module. Outside of a checkout it returns an error that
// says so.
func Root() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "docs", "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module microcomm/docs")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not inside a checkout of microcomm", start)
		}
	}
}

// Git runs git in dir, for a minute at most, and returns what it prints.
func Git(ctx context.Context, dir string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return process.Output(ctx, process.Command{Args: append([]string{"git"}, args...), Dir: dir})
}
