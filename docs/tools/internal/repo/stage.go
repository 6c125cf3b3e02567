package repo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/tools/internal/cli"
)

// Stage is a chapter, or final: a folder at the checkout's top that is a Go module.
type Stage struct {
	Name string // the folder's name: 06-rabbitmq
	Dir  string
}

// Module is the stage's module path.
func (s Stage) Module() string { return "microcomm/" + s.Name }

// Has reports whether the stage has that file or folder.
func (s Stage) Has(path string) bool {
	_, err := os.Stat(filepath.Join(s.Dir, filepath.FromSlash(path)))
	return err == nil
}

// NeedsBroker reports whether the stage's tests, and its services run apart, need RabbitMQ.
func (s Stage) NeedsBroker() bool { return s.Has("platformservice/publisher.go") }

// InOneProcess reports whether the stage has a program that runs all of it.
func (s Stage) InOneProcess() bool { return s.Has("cmd/microcomm") }

// Stages returns the stages of the checkout at root in order, final last.
func Stages(root string) ([]Stage, error) {
	found, err := filepath.Glob(filepath.Join(root, "[0-9][0-9]-*", "go.mod"))
	if err != nil {
		return nil, err
	}
	last := filepath.Join(root, "final", "go.mod")
	if _, err := os.Stat(last); err == nil {
		found = append(found, last)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%s has no stages", root)
	}
	var stages []Stage
	for _, mod := range found {
		dir := filepath.Dir(mod)
		stages = append(stages, Stage{Name: filepath.Base(dir), Dir: dir})
	}
	return stages, nil
}

// FindStage returns the index in stages of the stage called 06, 6 or 06-rabbitmq. The
// error, a cli.UsageError, names the stages.
func FindStage(stages []Stage, name string) (int, error) {
	name = strings.TrimSuffix(filepath.ToSlash(name), "/")
	var names []string
	for i, s := range stages {
		number, _, _ := strings.Cut(s.Name, "-")
		if name == s.Name || name == number || "0"+name == number {
			return i, nil
		}
		names = append(names, s.Name)
	}
	return 0, cli.UsageError(fmt.Sprintf("unknown stage %s; %s", name, cli.OrNearest(name, names, "the stages are "+strings.Join(names, ", "))))
}
