package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// tally counts tests. A test with subtests counts only through them, unless it failed or
// was skipped for its own reason.
type tally struct {
	packages                int
	passed, failed, skipped int
	reasons                 map[string]int // of the skips
}

func (t *tally) skip(reason string) {
	t.skipped++
	if t.reasons == nil {
		t.reasons = map[string]int{}
	}
	t.reasons[reason]++
}

func (t *tally) add(other tally) {
	t.packages += other.packages
	t.passed += other.passed
	t.failed += other.failed
	for reason, n := range other.reasons {
		for range n {
			t.skip(reason)
		}
	}
}

func (t *tally) ran() int { return t.passed + t.failed + t.skipped }

// testEvent is one line of `go test -json`; see `go doc test2json`.
type testEvent struct {
	Action      string
	Package     string
	ImportPath  string // of build-output
	FailedBuild string
	Test        string
	Output      string
	Elapsed     float64
}

// testResults reads the stream of `go test -json`, reports each package as it
// ends and each failing test with its output, and counts.
type testResults struct {
	out     io.Writer
	module  string // cut from the packages' names
	verbose bool
	each    bool // report each test, not only those that fail

	total  tally
	tests  map[string]map[string]*testState // by package and test
	output map[string][]string              // of a package itself
	builds map[string][]string              // the compiler's and vet's, by import path
}

type testState struct {
	output      []string
	result      string // pass, fail, skip, or empty while it runs
	parent      bool   // it has subtests
	childFailed bool
}

func newTestResults(out io.Writer, module string, verbose bool) *testResults {
	return &testResults{
		out: out, module: module, verbose: verbose,
		tests: map[string]map[string]*testState{}, output: map[string][]string{}, builds: map[string][]string{},
	}
}

// read reads the stream to its end. It prints lines that are not events.
func (r *testResults) read(stream io.Reader) error {
	lines := bufio.NewReader(stream)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var event testEvent
			if json.Unmarshal(line, &event) != nil || event.Action == "" {
				fmt.Fprintf(r.out, "    %s\n", strings.TrimRight(string(line), "\n"))
			} else {
				r.take(event)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the tests' output: %w", err)
		}
	}
}

func (r *testResults) take(event testEvent) {
	switch {
	case event.Action == "build-output":
		r.builds[event.ImportPath] = append(r.builds[event.ImportPath], event.Output)
	case event.Package == "":
	case event.Test == "":
		r.takePackage(event)
	default:
		r.takeTest(event)
	}
}

func (r *testResults) takeTest(event testEvent) {
	tests := r.tests[event.Package]
	if tests == nil {
		tests = map[string]*testState{}
		r.tests[event.Package] = tests
	}
	test := tests[event.Test]
	if test == nil {
		test = &testState{}
		tests[event.Test] = test
		for _, parent := range parents(tests, event.Test) {
			parent.parent = true
		}
	}
	switch event.Action {
	case "output":
		test.output = append(test.output, event.Output)
		if r.verbose {
			fmt.Fprint(r.out, "    ", event.Output)
		}
	case "fail":
		test.result = event.Action
		r.failed(event.Package, event.Test, test)
		for _, parent := range parents(tests, event.Test) {
			parent.childFailed = true
		}
	case "skip":
		test.result = event.Action
		r.ended(event, test, colour(r.out, "33", "skip"))
	case "pass":
		test.result = event.Action
		r.ended(event, test, colour(r.out, "32", "ok  "))
		test.output = nil
	}
}

// parents returns the tests that name is a subtest of.
func parents(tests map[string]*testState, name string) []*testState {
	var found []*testState
	for i, c := range name {
		if c != '/' {
			continue
		}
		if parent := tests[name[:i]]; parent != nil {
			found = append(found, parent)
		}
	}
	return found
}

// failed shows the output of a failing test, unless it failed only because a subtest
// did.
func (r *testResults) failed(pkg, name string, test *testState) {
	own := 0
	for _, line := range test.output {
		if !strings.HasPrefix(line, "=== ") {
			own++
		}
	}
	if r.verbose || test.childFailed && own <= 1 {
		return
	}
	fmt.Fprintf(r.out, "  %s %s: %s\n", colour(r.out, "31", "FAIL"), r.short(pkg), name)
	r.print(test.output)
}

// ended shows a test with its last log line, if every test is shown.
func (r *testResults) ended(event testEvent, test *testState, state string) {
	if r.each && !test.parent {
		name := event.Test[strings.LastIndex(event.Test, "/")+1:]
		fmt.Fprintf(r.out, "  %s %-28s %s, %.1fs\n", state, name, lastLogged(test.output), event.Elapsed)
	}
}

func (r *testResults) print(output []string) {
	for line := range strings.Lines(strings.Join(output, "")) {
		if !strings.HasPrefix(line, "=== ") {
			fmt.Fprintf(r.out, "       %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// takePackage handles the end of a package.
func (r *testResults) takePackage(event testEvent) {
	switch event.Action {
	case "output":
		r.output[event.Package] = append(r.output[event.Package], event.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	tests := r.tests[event.Package]
	if len(tests) == 0 && event.Action != "fail" {
		return // a package without tests
	}
	var count tally
	count.packages = 1
	for name, test := range tests {
		switch {
		case test.result == "": // it ran when the program ended: a panic, os.Exit, the time limit
			count.failed++
			r.failed(event.Package, name, test)
		case test.result == "fail" && !test.childFailed:
			count.failed++
		case test.result == "skip":
			count.skip(lastLogged(test.output))
		case test.result == "pass" && !test.parent:
			count.passed++
		}
	}
	if event.Action == "fail" && count.failed == 0 {
		// not the fault of a test: a compile error, a finding of vet, or TestMain failed
		count.failed = 1
		what, output := "the package", r.output[event.Package]
		if event.FailedBuild != "" {
			what, output = "does not build, or fails vet", r.builds[event.FailedBuild]
		}
		fmt.Fprintf(r.out, "  %s %s: %s\n", colour(r.out, "31", "FAIL"), r.short(event.Package), what)
		r.print(output)
	}
	state := colour(r.out, "32", "ok  ")
	if event.Action == "fail" {
		state = colour(r.out, "31", "FAIL")
	}
	line := fmt.Sprintf("%d passed", count.passed)
	if count.failed > 0 {
		line += fmt.Sprintf(", %d failed", count.failed)
	}
	if count.skipped > 0 {
		line += fmt.Sprintf(", %d skipped", count.skipped)
	}
	fmt.Fprintf(r.out, "  %s %-28s %s, %.1fs\n", state, r.short(event.Package), line, event.Elapsed)
	r.total.add(count)
	delete(r.tests, event.Package)
	delete(r.output, event.Package)
}

// short is the package's name inside the module.
func (r *testResults) short(pkg string) string {
	return strings.TrimPrefix(strings.TrimPrefix(pkg, r.module), "/")
}

// lastLogged returns the last line that a test logged: the reason, if it was skipped.
func lastLogged(output []string) string {
	said := regexp.MustCompile(`^\s+\S+\.go:\d+: (.*)`)
	for _, line := range slices.Backward(strings.Split(strings.Join(output, ""), "\n")) {
		if match := said.FindStringSubmatch(line); match != nil {
			return match[1]
		}
	}
	return "nothing logged"
}
