package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/format"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

// skippedCheck is the reason why a check could not run.
type skippedCheck string

func (e skippedCheck) Error() string { return string(e) }

// checkFormat names the Go files that gofmt would change.
func checkFormat(ctx context.Context, root string, s repo.Stage) error {
	paths, err := changes.List(ctx, root, s)
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range paths {
		if !strings.HasSuffix(path, ".go") {
			continue
		}
		source, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)))
		if err != nil {
			return err
		}
		formatted, err := format.Source(source)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
		} else if !bytes.Equal(source, formatted) {
			errs = append(errs, fmt.Errorf("%s is not formatted; run: gofmt -w %s/%s", path, s.Name, path))
		}
	}
	return errors.Join(errs...)
}

// checkTidy compares go.mod and go.sum with the result of go mod tidy. It needs more
// modules than a build does; network allows it to fetch them.
func checkTidy(ctx context.Context, s repo.Stage, network bool) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	env := append(os.Environ(), "GOWORK=off")
	if !network {
		env = append(env, "GOPROXY=off")
	}
	diff, err := process.Output(ctx, process.Command{Args: []string{"go", "mod", "tidy", "-diff"}, Dir: s.Dir, Env: env})
	switch {
	case err == nil:
		return nil
	case len(diff) > 0:
		return fmt.Errorf("run go mod tidy:\n%s", diff)
	case ctx.Err() != nil:
		return ctx.Err()
	case !network:
		return skippedCheck("go mod tidy: its modules are not all on this machine; go tool lab test, without a stage, fetches them")
	}
	return err
}

// twinFiles are the files that must be the same in both services of a stage.
func twinFiles() []string {
	return []string{
		"problem.go", "json.go", "unicode.go", "validation.go", "router.go", "http_server.go", "health.go", "backoff.go", "broker.go",
	}
}

// checkTwins names the files of a stage that should be the same in both services, except
// for the package, and differ.
func checkTwins(s repo.Stage) error {
	var errs []error
	for _, name := range twinFiles() {
		platforms, err := readFile(s, "platformservice/"+name)
		if err != nil {
			return err
		}
		commands, err := readFile(s, "commandsservice/"+name)
		if err != nil {
			return err
		}
		if platforms != nil && commands != nil && changes.TwinContent(name, *platforms) != changes.TwinContent(name, *commands) {
			errs = append(errs, fmt.Errorf("commandsservice/%[1]s must equal platformservice/%[1]s except for the package; see: git diff --no-index %[2]s/platformservice/%[1]s %[2]s/commandsservice/%[1]s",
				name, s.Name))
		}
	}
	return errors.Join(errs...)
}

// checkStatic runs staticcheck's checks for bugs and for what is deprecated, and none of
// style, in each module.
func checkStatic(ctx context.Context, modules []repo.Stage) error {
	return inEach(ctx, modules, "go", "run", "honnef.co/go/tools/cmd/staticcheck@v0.8.2", "-checks", "SA*", "./...")
}

// vulnerabilities is what govulncheck looks up.
const vulnerabilities = "https://vuln.go.dev"

// checkVulnerabilities runs govulncheck in each module. It is skipped where the database
// cannot be reached.
func checkVulnerabilities(ctx context.Context, modules []repo.Stage) error {
	reach, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(reach, http.MethodGet, vulnerabilities+"/index/db.json", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if err != nil || response.StatusCode != http.StatusOK {
		return skippedCheck("govulncheck cannot reach " + vulnerabilities)
	}
	return inEach(ctx, modules, "go", "run", "golang.org/x/vuln/cmd/govulncheck@v1.9.0", "./...")
}

// inEach runs a command in each module alone. The error has what it printed where it failed.
func inEach(ctx context.Context, modules []repo.Stage, args ...string) error {
	var errs []error
	for _, module := range modules {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
		output, err := process.Output(ctx, process.Command{Args: args, Dir: module.Dir, Env: append(os.Environ(), "GOWORK=off")})
		cancel()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w\n%s", module.Name, err, output))
		}
	}
	return errors.Join(errs...)
}

// checkVersions names each dependency that two go.mod files require in different versions.
func checkVersions(root string) error {
	files, err := filepath.Glob(filepath.Join(root, "*", "go.mod"))
	if err != nil {
		return err
	}
	if len(files) < 2 {
		return fmt.Errorf("%s has %d modules", root, len(files))
	}
	required := map[string]map[string][]string{} // by dependency and version: the modules
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		for dependency, version := range requirements(string(content)) {
			if required[dependency] == nil {
				required[dependency] = map[string][]string{}
			}
			required[dependency][version] = append(required[dependency][version], filepath.Base(filepath.Dir(file)))
		}
	}
	var errs []error
	for _, dependency := range slices.Sorted(maps.Keys(required)) {
		versions := required[dependency]
		if len(versions) == 1 {
			continue
		}
		message := dependency + ":"
		for _, version := range slices.Sorted(maps.Keys(versions)) {
			message += fmt.Sprintf(" %s in %s;", version, strings.Join(versions[version], ", "))
		}
		errs = append(errs, errors.New(strings.TrimSuffix(message, ";")))
	}
	return errors.Join(errs...)
}

// requirements returns the versions that a go.mod, as formatted by the go
// command, requires. The language version counts as one.
func requirements(gomod string) map[string]string {
	found := map[string]string{}
	inside := false
	for line := range strings.Lines(gomod) {
		line, _, _ = strings.Cut(line, "//")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "require" && fields[1] == "(":
			inside = true
		case len(fields) == 1 && fields[0] == ")":
			inside = false
		case len(fields) == 2 && inside:
			found[fields[0]] = fields[1]
		case len(fields) == 3 && fields[0] == "require":
			found[fields[1]] = fields[2]
		case len(fields) == 2 && fields[0] == "go":
			found["go"] = fields[1]
		}
	}
	return found
}
