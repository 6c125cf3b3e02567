package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/repo"
)

// stage is one chapter: a folder at the top that is a Go module.
type stage struct {
	name string // the folder's name: 06-rabbitmq
	dir  string
}

// module is the stage's module path.
func (s stage) module() string { return "microcomm/" + s.name }

// has reports whether the stage has that file or folder.
func (s stage) has(path string) bool {
	_, err := os.Stat(filepath.Join(s.dir, filepath.FromSlash(path)))
	return err == nil
}

// needsBroker reports whether the stage's tests, and its services run apart, need RabbitMQ.
func (s stage) needsBroker() bool { return s.has("platformservice/publisher.go") }

// inOneProcess reports whether the stage has a program that runs all of it.
func (s stage) inOneProcess() bool { return s.has("cmd/microcomm") }

// listStages returns the stages in order, final last.
func listStages(root string) ([]stage, error) {
	found, err := repo.Stages(root)
	if err != nil {
		return nil, err
	}
	var stages []stage
	for _, s := range found {
		stages = append(stages, stage{name: s.Name, dir: s.Dir})
	}
	return stages, nil
}

// findStage is the place in l.stages of the one called 06, 6 or 06-rabbitmq.
func (l *lab) findStage(name string) (int, error) {
	name = strings.TrimSuffix(filepath.ToSlash(name), "/")
	var names []string
	for i, s := range l.stages {
		number, _, _ := strings.Cut(s.name, "-")
		if name == s.name || name == number || "0"+name == number {
			return i, nil
		}
		names = append(names, s.name)
	}
	return 0, usageError(fmt.Sprintf("unknown stage %s; %s", name, cli.OrNearest(name, names, "the stages are "+strings.Join(names, ", "))))
}

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
func comparedFiles(ctx context.Context, root string, s stage) (map[string]string, error) {
	paths, err := listFiles(ctx, root, s)
	if err != nil {
		return nil, err
	}
	files := map[string]string{}
	for _, path := range paths {
		if !compared(path) {
			continue
		}
		content, err := os.ReadFile(filepath.Join(s.dir, filepath.FromSlash(path)))
		if err != nil {
			return nil, err
		}
		files[path] = strings.ReplaceAll(string(content), s.module(), anyModule)
	}
	return files, nil
}

// listFiles returns the paths, inside the stage, of the files that belong to the
// repository: those of git, and new ones it would not ignore.
func listFiles(ctx context.Context, root string, s stage) ([]string, error) {
	listed, err := repo.Git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", s.name)
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, path := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		path = strings.TrimPrefix(path, s.name+"/")
		// git still lists a file that was deleted and not yet committed
		_, err := os.Lstat(filepath.Join(s.dir, filepath.FromSlash(path)))
		if path == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		paths = append(paths, path)
	}
	return paths, nil
}
