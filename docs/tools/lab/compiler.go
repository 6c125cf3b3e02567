package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
)

// needCompiler returns an error that says what to do if the C compiler that SQLite needs
// is missing, or the settings keep Go from using it.
func needCompiler(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	out, err := process.Output(ctx, process.Command{Args: []string{"go", "env", "CC", "CGO_ENABLED", "GOHOSTOS", "GOOS", "GOHOSTARCH", "GOARCH"}})
	if err != nil {
		return err
	}
	settings := strings.Split(out+strings.Repeat("\n", 6), "\n")
	// Without a compiler Go turns cgo off, so this case is the first.
	command := append(strings.Fields(settings[0]), "gcc")[0]
	if _, err := exec.LookPath(command); err != nil {
		return fmt.Errorf("no C compiler: SQLite needs %s; %s", command, howToGet("a C compiler"))
	}
	switch {
	case strings.TrimSpace(settings[1]) != "0":
		return nil
	case os.Getenv("CGO_ENABLED") == "0":
		return errors.New("CGO_ENABLED=0 turns cgo off, and SQLite is C: unset CGO_ENABLED")
	case settings[2] != settings[3] || settings[4] != settings[5]:
		return errors.New("GOOS or GOARCH names another machine, so cgo is off, and SQLite is C: unset GOOS GOARCH")
	}
	return errors.New("go env has CGO_ENABLED=0, which turns cgo off, and SQLite is C: go env -u CGO_ENABLED")
}

// toCompile names the libraries of the packages that Go has not compiled yet, the reason
// why a build will take minutes. It returns "" when none is missing. A library that is
// not on this machine is not compiled either. Flags may precede the packages: -race, for
// example, has a separate build.
func toCompile(ctx context.Context, dir string, packages ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	args := append([]string{"go", "list", "-e", "-deps", "-f", "{{if or .Stale .Error}}{{.ImportPath}}{{end}}"}, packages...)
	env := append(os.Environ(), "GOWORK=off", "GOPROXY=off")
	out, err := process.Output(ctx, process.Command{Args: args, Dir: dir, Env: env})
	if err != nil {
		return "" // the build reports the error
	}
	missing := strings.Fields(out)
	has := func(prefix string) bool {
		return slices.ContainsFunc(missing, func(path string) bool { return strings.HasPrefix(path, prefix) })
	}
	switch {
	case has("github.com/mattn/go-sqlite3"):
		return "SQLite"
	case has("k8s.io/"):
		return "Kubernetes' types"
	}
	return ""
}

// announce says, before a build that will take long, why it will.
func (l *lab) announce(ctx context.Context, dir string, race bool, packages ...string) {
	flags, why := []string{}, ""
	if race {
		flags, why = []string{"-race", "-test"}, " for the race detector, which the tests run with"
	}
	if what := toCompile(ctx, dir, append(flags, packages...)...); what != "" {
		fmt.Fprintf(l.err, "compiling %s%s: one to four minutes, the first time only\n", what, why)
	}
}
