package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/tools/internal/repo"
)

// findStage is the place in l.stages of the one called 06, 6 or 06-rabbitmq.
func (l *lab) findStage(name string) (int, error) { return repo.FindStage(l.stages, name) }

// compared reports whether a file of a stage is compared with the stage before.
// Lessons, exercises and checksums belong to their stage alone.
func compared(path string) bool {
	return path != "README.md" && path != "PIECES.md" && path != "go.sum" &&
		!strings.HasPrefix(path, "pieces/") && !strings.HasPrefix(path, "exercises/")
}

// anyModule stands for the stage's own name where two stages are compared.
const anyModule = "microcomm/STAGE"

// comparedFiles returns what of the stage is compared, by path, with the
// stage's own module path folded away.
func comparedFiles(ctx context.Context, root string, s repo.Stage) (map[string]string, error) {
	paths, err := listFiles(ctx, root, s)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, path := range paths {
		if !compared(path) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		files[path] = strings.ReplaceAll(string(content), s.Module(), anyModule)
	}
	return files, nil
}

// listFiles returns the paths, inside the stage, of the files that belong to the
// repository: those of git, and new ones it would not ignore.
func listFiles(ctx context.Context, root string, s repo.Stage) ([]string, error) {
	listed, err := repo.Git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", s.Name)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, path := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		path = strings.TrimPrefix(path, s.Name+"/")
		// git still lists a file that was deleted and not yet committed
		_, err := os.Lstat(filepath.Join(s.Dir, filepath.FromSlash(path)))
		if path == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}
