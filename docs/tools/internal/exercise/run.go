package exercise

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
)

// Options say how an exercise's tests are run.
type Options struct {
	Env     []string                    // nil: that of this process
	Race    bool                        // with the race detector
	Cluster bool                        // run the tests of cluster_test.go, not those of exercise_test.go
	Still   func(elapsed time.Duration) // called every ten seconds

	only     string   // one test, of all
	noVet    bool     // without the vet of go test
	packages []string // of the module: their own tests are run too, and vetted
}

// Result is how the tests ended.
type Result struct {
	Tests    []Test   // the exercise's, in the order of its file
	Problems []string // why there is no result of a test: what does not compile, a panic
	own      []string // the stage's own tests that failed, with what they print
}

// Test is how one test ended.
type Test struct {
	Name    string
	State   State
	Message string // what it says of a failure, or why it was skipped
	Output  string // all that it printed
}

// State is pass, fail or skip, or empty for a test without a result.
type State string

// Passed reports whether every test passed.
func (r *Result) Passed() bool {
	return len(r.Problems) == 0 && len(r.own) == 0 && !slices.ContainsFunc(r.Tests, func(t Test) bool { return t.State != "pass" })
}

// Test is the result of the test of that name.
func (r *Result) Test(name string) Test {
	for _, t := range r.Tests {
		if t.Name == name {
			return t
		}
	}
	return Test{Name: name}
}

// Run runs the exercise's tests on the checkout as it is. They are laid into
// their package by go test -overlay: no file is written into the checkout. An
// error means that they could not be run.
func (e *Exercise) Run(ctx context.Context, o Options) (*Result, error) {
	dir, err := os.MkdirTemp("", "microcomm-exercise-")
	if err != nil {
		return nil, err
	}
	defer process.RemoveAll(dir)
	module := filepath.Join(e.root, e.module())
	pkg := filepath.Join(module, e.pkg)
	if info, err := os.Stat(pkg); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("%s: exercise_test.go is of package %s, and %s has no such folder", e, e.pkg, e.module())
	}
	laid := strings.ReplaceAll(e.Name, "-", "_")
	replace := map[string]string{filepath.Join(pkg, "exercise_"+laid+"_test.go"): filepath.Join(e.Dir(), "exercise_test.go")}
	if e.ClusterTests != nil {
		replace[filepath.Join(pkg, "exercise_"+laid+"_cluster_test.go")] = filepath.Join(e.Dir(), "cluster_test.go")
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return nil, err
	}
	overlayFile := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(overlayFile, overlay, 0o600); err != nil {
		return nil, err
	}
	tests := e.Tests
	if o.Cluster {
		tests = e.ClusterTests
	}
	if o.only != "" {
		tests = []string{o.only}
	}
	args := []string{"-overlay", overlayFile, "-tags=exercise"}
	if o.noVet {
		args = append(args, "-vet=off")
	}
	if len(o.packages) == 0 {
		args = append(args, "-timeout=5m", "-run=^("+strings.Join(tests, "|")+")$", "./"+e.pkg)
	} else {
		args = append(args, "-vet=all", "-timeout=30m", "-skip=^("+strings.Join(e.ClusterTests, "|")+")$", "-p=4")
		args = append(args, o.packages...)
	}
	return e.goTest(ctx, o, dir, args, tests)
}

// goTest runs go test in the module, with dir for its temporary files, and reads
// how the tests ended.
func (e *Exercise) goTest(ctx context.Context, o Options, dir string, args, tests []string) (*Result, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*time.Minute)
	defer cancel()
	command := []string{"go", "test", "-json", "-count=1"}
	if o.Race {
		command = append(command, "-race")
	}
	if o.Env == nil {
		o.Env = os.Environ()
	}
	// The files of an interrupted compiler or test are removed with this folder.
	env := slices.Concat(o.Env, []string{
		"GOWORK=off", "EXERCISE_STAGE=" + filepath.Join(e.root, e.Stage), "TMPDIR=" + dir, "TMP=" + dir, "TEMP=" + dir,
	})
	var out bytes.Buffer
	ran := process.Run(ctx, process.Command{
		Args: append(command, args...), Dir: filepath.Join(e.root, e.module()), Env: env, Stdout: &out, Stderr: &out, Still: o.Still,
	})
	if ctx.Err() != nil {
		return nil, fmt.Errorf("test %s: %w", e, ctx.Err())
	}
	result := e.read(out.String(), tests)
	if ran != nil && len(result.Problems) == 0 && !slices.ContainsFunc(result.Tests, func(t Test) bool { return t.State == "fail" }) && len(result.own) == 0 {
		return nil, fmt.Errorf("test %s: %w\n%s", e, ran, process.LastLines(out.String(), 20))
	}
	return result, nil
}

// event is one line of `go test -json`; see `go doc test2json`.
type event struct {
	Action, Package, Test, Output, FailedBuild string
}

// read makes a Result of the output of go test -json.
func (e *Exercise) read(stream string, tests []string) *Result {
	judge := "microcomm/" + e.module() + "/" + e.pkg
	type id struct{ pkg, test string } // without a test: the package; without both: the compiler
	output := map[id][]byte{}          // its output, which may be very long
	states := map[id]State{}           // how it ended
	blamed := map[string]bool{}        // packages that failed by a test, or did not compile
	broken := false                    // some package did not compile
	result := &Result{}
	for line := range strings.Lines(stream) {
		var ev event
		if json.Unmarshal([]byte(line), &ev) != nil || ev.Action == "" {
			output[id{}] = append(output[id{}], line...)
			continue
		}
		this := id{ev.Package, ev.Test}
		top, sub, isSub := strings.Cut(ev.Test, "/")
		switch ev.Action {
		case "build-output":
			output[id{}] = append(output[id{}], ev.Output...)
		case "output":
			output[this] = append(output[this], ev.Output...)
		case "pass", "skip":
			states[this] = State(ev.Action)
		case "fail":
			states[this] = "fail"
			blamed[ev.Package] = blamed[ev.Package] || ev.Test != "" || ev.FailedBuild != ""
			broken = broken || ev.FailedBuild != ""
			message := Message(string(output[this]))
			if isSub && message != "" {
				whole := id{ev.Package, top}
				output[whole] = append(append(output[whole], "    "+sub+":\n"...), output[this]...)
			}
			if ev.Test != "" && (ev.Package != judge || !slices.Contains(tests, top)) {
				result.own = append(result.own, ev.Package+" "+ev.Test+"\n"+message)
			}
		}
	}
	for _, name := range tests {
		this := id{judge, name}
		t := Test{Name: name, State: states[this], Output: string(output[this])}
		if t.State != "pass" {
			t.Message = Message(t.Output)
		}
		result.Tests = append(result.Tests, t)
	}
	add := func(problems ...string) {
		for _, problem := range problems {
			if !slices.Contains(result.Problems, problem) {
				result.Problems = append(result.Problems, problem)
			}
		}
	}
	for this, text := range output {
		if this.pkg != "" {
			add(e.crash(string(text))...)
		}
	}
	for this, state := range states {
		if this.test == "" && state == "fail" && !blamed[this.pkg] && len(result.Problems) == 0 {
			// TestMain failed, as that of e2e does when a service does not compile
			add(e.compilerErrors(string(output[this]))...)
		}
	}
	if broken || states[id{judge, ""}] == "" {
		add(e.compilerErrors(string(output[id{}]))...)
	}
	slices.Sort(result.Problems)
	return result
}

// crash returns the reason why the test's program crashed, or "".
func (e *Exercise) crash(output string) []string {
	found := regexp.MustCompile(`(?m)^(?:panic|fatal error): .*$`).FindStringIndex(output)
	if found == nil {
		return nil
	}
	problem := output[found[0]:found[1]]
	places := regexp.MustCompile(`(?m)^\t` + regexp.QuoteMeta(filepath.ToSlash(e.root)) + `/(\S+:\d+)`)
	for _, place := range places.FindAllStringSubmatch(output[found[1]:], 3) {
		problem += "\n  at " + place[1]
	}
	return []string{problem}
}

// compilerErrors picks the errors of the compiler and of vet, with the files'
// paths from the checkout's top. Without any it is all that was printed.
func (e *Exercise) compilerErrors(text string) []string {
	var found []string
	for _, line := range regexp.MustCompile(`(?m)^(?:vet: )?(\S+\.go):(\d+(?::\d+)?: .*(?:\n\t.*)*)`).FindAllStringSubmatch(text, -1) {
		file := filepath.ToSlash(line[1])
		if inRoot, err := filepath.Rel(e.root, line[1]); filepath.IsAbs(line[1]) && err == nil {
			file = filepath.ToSlash(inRoot)
		} else if strings.HasPrefix(file, "..") { // printed in the folder of e2e
			file = path.Join(e.module(), e.pkg, file)
		} else if !filepath.IsAbs(line[1]) {
			file = path.Join(e.module(), file)
		}
		if message := file + ":" + line[2]; !slices.Contains(found, message) {
			found = append(found, message)
		}
	}
	if len(found) == 0 && strings.TrimSpace(text) != "" {
		return []string{process.LastLines(text, 20)}
	}
	return found
}

// Reason is why the test failed or was skipped, in one line: what it got and what
// it wanted first.
func (t Test) Reason() string {
	if t.State == "skip" {
		return strings.ReplaceAll(t.Message, "\n", " ")
	}
	if t.State != "fail" {
		return ""
	}
	failures := failures(t.Output)
	switch len(failures) {
	case 0:
		return "it failed without a word"
	case 1:
		return failures[0]
	}
	return fmt.Sprintf("%s; and %d more", failures[0], len(failures)-1)
}

// longestPart is how much of a value, or of a message, a line has.
const longestPart = 120

// failures returns a line for each failure that a test printed.
func failures(output string) []string {
	place := regexp.MustCompile(`^    (\S+\.go:\d+): ?(.*)$`)
	heading := regexp.MustCompile(`^ +\t(Error Trace|Error|Test|Messages): *\t?(.*)$`)
	var found []string
	var at, subtest, section string
	var said, messages, details []string
	end := func() {
		what := slices.DeleteFunc([]string{gotAndWant(details), short(messages), short(said)}, func(part string) bool { return part == "" })
		if at != "" && len(what) > 0 {
			found = append(found, subtest+strings.Join(what, ": ")+" ("+at+")")
		}
		at, section, said, messages, details = "", "", nil, nil, nil
	}
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \t\r\n")
		trimmed := strings.TrimSpace(line)
		failed, head := place.FindStringSubmatch(line), heading.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "WARNING: DATA RACE"):
			end()
			found = append(found, "a data race: two goroutines use the same memory without synchronization")
		case failed != nil:
			end()
			at, said = failed[1], []string{failed[2]}
		case !strings.HasPrefix(line, "    ") || trimmed == "" || strings.HasPrefix(trimmed, "--- "):
		case !strings.HasPrefix(line, "        "): // the heading of a subtest
			end()
			subtest = strings.TrimSuffix(trimmed, ":") + ": "
		case head != nil:
			section = head[1]
			trimmed = strings.TrimSpace(head[2])
			fallthrough
		default:
			switch section {
			case "":
				said = append(said, trimmed)
			case "Messages":
				messages = append(messages, trimmed)
			case "Error":
				details = append(details, trimmed)
			}
		}
	}
	end()
	return found
}

// gotAndWant makes one line of testify's message about a failure.
func gotAndWant(details []string) string {
	if diff := slices.Index(details, "Diff:"); diff >= 0 {
		details = details[:diff]
	}
	for i, line := range details {
		want, isWant := strings.CutPrefix(line, "expected: ")
		for j := i + 1; isWant && j < len(details); j++ {
			if got, isGot := strings.CutPrefix(details[j], "actual  : "); isGot {
				return "got " + short(append([]string{got}, details[j+1:]...)) + ", want " + short(append([]string{want}, details[i+1:j]...))
			}
		}
	}
	return short(details)
}

// short joins lines, and cuts what is too long.
func short(lines []string) string {
	text := []rune(strings.Join(strings.Fields(strings.Join(lines, " ")), " "))
	if len(text) > longestPart {
		return string(text[:longestPart]) + "…"
	}
	return string(text)
}

// Message is a test's own message about its failure: what it logged, without the services'
// logs and without the frame that the testing package and testify put around it.
func Message(output string) string {
	var lines, details []string
	// testify prints sections; its Messages are what the test says, and come first
	heading := regexp.MustCompile(`^ +\t(Error Trace|Error|Test|Messages): *\t?(.*)$`)
	section := ""
	end := func() { lines, details, section = append(lines, details...), nil, "" }
	for line := range strings.Lines(output) {
		line = strings.TrimRight(line, " \t\r\n")
		trimmed := strings.TrimSpace(line)
		head := heading.FindStringSubmatch(line)
		switch {
		case strings.HasPrefix(line, "WARNING: DATA RACE"):
			end()
			lines = append(lines, "a data race: two goroutines use the same memory without synchronization; -v shows where")
			continue
		case !strings.HasPrefix(line, "    ") || trimmed == "" || strings.HasPrefix(trimmed, "--- "):
			continue
		case !strings.HasPrefix(line, "        "): // the first line of a failure, or the heading of a subtest
			end()
		case head != nil:
			section, line = head[1], strings.TrimSpace(head[2])
		}
		switch section {
		case "":
			lines = append(lines, strings.TrimPrefix(line, "    "))
		case "Messages":
			lines = append(lines, "  "+strings.TrimSpace(line))
		case "Error":
			details = append(details, "  "+strings.TrimSpace(line))
		}
	}
	end()
	return strings.Join(lines, "\n")
}
