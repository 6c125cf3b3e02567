package changes

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"io/fs"
	"microcomm/docs/tools/internal/repo"
)

// Compared reports whether a file of a stage is compared with the stage before.
// Lessons, exercises and checksums belong to their stage alone.
func Compared(path string) bool {
	return path != "README.md" && path != "PIECES.md" && path != "go.sum" &&
		!strings.HasPrefix(path, "pieces/") && !strings.HasPrefix(path, "exercises/")
}

// AnyModule stands for the stage's own name where two stages are compared.
const AnyModule = "microcomm/STAGE"

// Files returns the compared files of a stage, by path, with AnyModule instead of its own
// module path.
func Files(ctx context.Context, root string, s repo.Stage) (map[string]string, error) {
	paths, err := List(ctx, root, s)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, path := range paths {
		if !Compared(path) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		files[path] = strings.ReplaceAll(string(content), s.Module(), AnyModule)
	}
	return files, nil
}

// List returns the paths, inside the stage, of the files that belong to the repository:
// tracked ones, and new ones that git does not ignore.
func List(ctx context.Context, root string, s repo.Stage) ([]string, error) {
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
