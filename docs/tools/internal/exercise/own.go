package exercise

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/process"
)

// Own is the result of the stage's own tests.
type Own struct {
	Packages []string // with tests, which ran: platformservice…
	Problems []string // what does not compile, a panic
	Failed   []string // the tests that failed: platformservice TestX
}

// Passed reports whether every test passed.
func (o *Own) Passed() bool { return len(o.Problems) == 0 && len(o.Failed) == 0 }

// RunOwn runs the stage's own tests that the changed files can break, as Verify
// does, but not those of e2e, which take long. The paths of the files begin with
// the stage.
func (e *Exercise) RunOwn(ctx context.Context, o Options, changed []string) (*Own, error) {
	if o.Env == nil {
		o.Env = os.Environ()
	}
	packages, err := e.affected(ctx, o.Env, changed)
	if err != nil {
		return nil, err
	}
	packages = slices.DeleteFunc(packages, func(pkg string) bool { return pkg == "./e2e" })
	if len(packages) == 0 {
		return &Own{}, nil
	}
	r, err := e.runPackages(ctx, o, packages)
	if err != nil {
		return nil, err
	}
	own := &Own{Problems: r.Problems}
	for _, pkg := range packages {
		// a package without tests was only built and vetted
		if tests, err := filepath.Glob(filepath.Join(e.root, e.Stage, pkg, "*_test.go")); err == nil && len(tests) > 0 {
			own.Packages = append(own.Packages, strings.TrimPrefix(pkg, "./"))
		}
	}
	for _, failure := range r.own {
		name, _, _ := strings.Cut(failure, "\n")
		if !strings.Contains(name[strings.LastIndex(name, " "):], "/") { // its parent fails, too
			own.Failed = append(own.Failed, strings.TrimPrefix(name, "microcomm/"+e.Stage+"/"))
		}
	}
	return own, nil
}

// runPackages runs only the tests of those packages of the stage.
func (e *Exercise) runPackages(ctx context.Context, o Options, packages []string) (*Result, error) {
	dir, err := os.MkdirTemp("", "microcomm-exercise-")
	if err != nil {
		return nil, err
	}
	defer process.RemoveAll(dir)
	own := &Exercise{Stage: e.Stage, Name: e.Name, root: e.root, pkg: strings.TrimPrefix(packages[0], "./")}
	return own.goTest(ctx, o, dir, append([]string{"-vet=all", "-p=4"}, packages...), nil)
}

// affected returns the packages of the stage that contain one of the changed
// files, or depend on one that does, and e2e, which builds the services.
func (e *Exercise) affected(ctx context.Context, env, changed []string) ([]string, error) {
	listed, err := process.Output(ctx, process.Command{
		Args: []string{"go", "list", "-e", "-f", `{{.ImportPath}} {{join .Deps " "}} {{join .TestImports " "}} {{join .XTestImports " "}}`, "./..."},
		Dir:  filepath.Join(e.root, e.Stage), Env: append(slices.Clone(env), "GOWORK=off"),
	})
	if err != nil {
		return nil, fmt.Errorf("list the packages of %s: %w", e.Stage, err)
	}
	name := "microcomm/" + e.Stage
	var all, touched, found []string
	deps := map[string][]string{}
	for line := range strings.Lines(listed) {
		fields := strings.Fields(line)
		all = append(all, fields[0])
		deps[fields[0]] = fields
	}
	for _, path := range changed {
		path, inside := strings.CutPrefix(path, e.Stage+"/")
		if !inside {
			continue
		}
		if path == "go.mod" {
			touched = all
		}
		for dir := filepath.ToSlash(filepath.Dir(path)); dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
			if pkg := name + "/" + dir; deps[pkg] != nil {
				touched = append(touched, pkg)
				break
			}
		}
	}
	for _, pkg := range all {
		isAffected := slices.ContainsFunc(touched, func(t string) bool { return slices.Contains(deps[pkg], t) })
		if isAffected || len(touched) > 0 && pkg == name+"/e2e" {
			found = append(found, "."+strings.TrimPrefix(pkg, name))
		}
	}
	return found, nil
}
