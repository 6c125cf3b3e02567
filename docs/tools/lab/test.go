package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"microcomm/docs/tools/internal/apt"
	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

func testVerb() verb {
	var options testOptions
	v := verb{
		name:    "test",
		args:    "[STAGE…]",
		summary: "tests a stage with what it needs; without a stage, everything that CI runs",
		about: `For each stage: go vet and go test -race of its module alone, then the checks: gofmt,
go mod tidy, and "What changes" in its README.md compared with the real difference
from the stage before. Files that both services have, such as problem.go, must be the
same except for the package. final is drilled too, in a short form (see lab drill): its
processes are killed, cut off and overloaded, and nothing accepted may be lost. And each
fault is caused on the console's page, in a Chromium.
Without a stage: all of them, this tool, and that all modules
require one version of each dependency, staticcheck and govulncheck.

Where a stage is named, your edits in the one before count as undone, and a check that
fails only because of your edits in this one says so.

Stages 06 to final need a broker: the one at RABBITMQ_URL, or one that is started for
the tests. final's console is also tested in a Chromium and with Node.js: those at CHROMIUM
and NODE, or ones that are found or installed. Tests against SQL Server run when
SQLSERVER_URL is set.

A test with subtests counts only through them; each check counts as one test.`,
		run: func(ctx context.Context, l *lab, names []string) error { return test(ctx, l, options, names) },
	}
	v.flags.BoolVar(&options.noBroker, "no-broker", false, "skip the tests that need a broker")
	v.flags.BoolVar(&options.cluster, "cluster", false, "also check the manifests on the current Kubernetes cluster, and run e2e against the stage deployed there")
	v.flags.BoolVar(&options.verbose, "v", false, "show what every test prints")
	v.flags.StringVar(&options.pattern, "run", "", "run only the tests that match `RE`, and no checks")
	return v
}

// testOptions are the flags of test.
type testOptions struct {
	noBroker bool
	cluster  bool
	verbose  bool
	pattern  string
}

func test(ctx context.Context, l *lab, options testOptions, names []string) error {
	chosen, err := l.chooseStages(names)
	if err != nil {
		return err
	}
	if err := cmp.Or(needCompiler(ctx), needClone(ctx, l.root)); err != nil {
		return err
	}
	t := &tester{lab: l, options: options, all: len(names) == 0}
	defer t.close()
	for _, s := range chosen {
		if err := t.test(ctx, s); err != nil {
			return err
		}
	}
	if t.all && options.pattern == "" {
		t.workspace(ctx, chosen)
	}
	return t.summary()
}

// chooseStages returns the named stages; without names every one, and docs.
func (l *lab) chooseStages(names []string) ([]repo.Stage, error) {
	docs := repo.Stage{Name: "docs", Dir: filepath.Join(l.root, "docs")}
	if len(names) == 0 {
		return append(slices.Clone(l.stages), docs), nil
	}
	var chosen []repo.Stage
	for _, name := range names {
		if strings.Trim(name, `/\`) == docs.Name {
			chosen = append(chosen, docs)
			continue
		}
		at, err := l.findStage(name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, l.stages[at])
	}
	return slices.Compact(chosen), nil
}

// tester runs the tests of stages and keeps the results.
type tester struct {
	lab     *lab
	options testOptions
	all     bool // no stage named
	broker  *rabbitmq.Broker
	rows    []row
	edits   []string // checks that fail because the stage was edited
}

// row is a stage's line in the table.
type row struct {
	name    string
	tally   tally
	seconds float64
}

func (t *tester) close() {
	if t.broker != nil {
		t.broker.Stop()
	}
}

func (t *tester) test(ctx context.Context, s repo.Stage) error {
	fmt.Fprintln(t.lab.out, colour(t.lab.out, "1", s.Name))
	env, err := t.env(ctx, s)
	if err != nil {
		return err
	}
	start := time.Now()
	t.lab.announce(ctx, s.Dir, true, "./...")
	results := newTestResults(t.lab.out, s.Module(), t.options.verbose)
	if err := t.goTest(ctx, s, env, results, t.options.pattern, "./..."); err != nil {
		return err
	}
	if s.Name == "final" && !t.options.noBroker {
		if err := t.whole(ctx, env, results); err != nil {
			return err
		}
	}
	count := results.total
	if t.options.pattern == "" {
		t.check(&count, "gofmt", checkFormat(ctx, t.lab.root, s))
		t.check(&count, "tidy", checkTidy(ctx, s, t.all))
		if s.Has("commandsservice") {
			t.check(&count, "twins", t.checkTwins(ctx, s))
		}
		if at := slices.IndexFunc(t.lab.stages, func(x repo.Stage) bool { return x.Name == s.Name }); at > 0 {
			t.check(&count, "what changes", t.checkDelta(ctx, t.lab.stages[at-1], s))
		}
	}
	if t.options.cluster && s.Has("k8s") {
		k, err := currentCluster(ctx, "")
		if err != nil {
			return err
		}
		t.check(&count, "manifests on the cluster", dryRun(ctx, k, s))
		t.check(&count, "e2e on the cluster", e2eOnCluster(ctx, t.lab, k, s, ""))
	}
	t.rows = append(t.rows, row{s.Name, count, time.Since(start).Seconds()})
	return ctx.Err()
}

// Without a named stage, for CI and maintainers, the checks judge the stages in their
// present state. With one, a learner may have edited stages.
func (t *tester) checkTwins(ctx context.Context, s repo.Stage) error {
	if t.all {
		return checkTwins(s)
	}
	return checkEditedTwins(ctx, t.lab.root, s)
}

func (t *tester) checkDelta(ctx context.Context, before, s repo.Stage) error {
	if t.all {
		return checkDelta(ctx, t.lab.root, before, s)
	}
	return checkEditedDelta(ctx, t.lab.root, before, s)
}

// env is the environment for the stage's tests, with a broker when they need one.
func (t *tester) env(ctx context.Context, s repo.Stage) ([]string, error) {
	env := os.Environ()
	if t.options.noBroker {
		env = append(env, "NO_BROKER=1") // for the tests of docs, which bring their own
	}
	if s.NeedsBroker() && t.options.noBroker {
		env = slices.DeleteFunc(env, func(setting string) bool { return strings.HasPrefix(setting, "RABBITMQ_URL=") })
	} else if s.NeedsBroker() {
		if t.broker == nil {
			b, err := rabbitmq.Start(ctx, t.lab.out)
			if err != nil {
				return nil, fmt.Errorf("%w\nTo skip the tests that need one: --no-broker", err)
			}
			t.broker = b
			fmt.Fprintln(t.lab.out, "broker:", b.What)
		}
		env = append(env, "RABBITMQ_URL="+t.broker.URL)
	}
	if s.Name == "final" {
		env = t.addProgram(ctx, env, "CHROMIUM", chromium.Ensure)
		env = t.addProgram(ctx, env, "NODE", ensureNode)
	}
	return env, nil
}

// addProgram adds to env where a program is that the page's tests need. Without it
// they are skipped, and the summary says why.
func (t *tester) addProgram(ctx context.Context, env []string, name string, ensure func(context.Context, io.Writer) (string, error)) []string {
	path, err := ensure(ctx, t.lab.out)
	if err != nil {
		fmt.Fprintf(t.lab.out, "%s: %v\n", name, err)
		return env
	}
	return append(env, name+"="+path)
}

// ensureNode returns the path of a Node.js: NODE if it is set, else one on this
// machine, else, on Debian and Ubuntu, one that it installs.
func ensureNode(ctx context.Context, progress io.Writer) (string, error) {
	find := func() string {
		path, _ := exec.LookPath(cmp.Or(os.Getenv("NODE"), "node"))
		return path
	}
	found, err := apt.Settled(ctx, find)
	if found != "" || err != nil {
		return found, err
	}
	return apt.Install(ctx, "nodejs", find, progress)
}

// whole runs the tests of docs that are about final as a whole: the short form of its
// drills and, unless docs is tested anyway, the faults on the console's page.
func (t *tester) whole(ctx context.Context, env []string, results *testResults) error {
	if err := t.ofDocs(ctx, env, results, "TestDrills", "-tags=drills", "./tools/drill"); err != nil || t.all {
		return err
	}
	return t.ofDocs(ctx, env, results, "TestFaultsOnThePageOfFinal", "./tools/lab")
}

// ofDocs runs a test of docs, unless the pattern is about others.
func (t *tester) ofDocs(ctx context.Context, env []string, results *testResults, name string, what ...string) error {
	pattern := cmp.Or(t.options.pattern, "^"+name+"$")
	if !strings.Contains(pattern, name) {
		return nil
	}
	results.module, results.each = "microcomm/docs", true
	docs := repo.Stage{Name: "docs", Dir: filepath.Join(t.lab.root, "docs")}
	return t.goTest(ctx, docs, env, results, pattern, what...)
}

// goTest runs vet and the tests of one module that match pattern, all tests if it is
// empty. An error means that they could not run; their results are in results.
func (t *tester) goTest(ctx context.Context, s repo.Stage, env []string, results *testResults, pattern string, what ...string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Hour)
	defer cancel()
	// -vet=all is go vet, and shares the compiled packages with the tests. -count=1: go
	// does not notice changes in the programs that e2e builds. -timeout: a busy machine
	// may need more than go's ten minutes for a package.
	args := []string{"go", "test", "-race", "-vet=all", "-count=1", "-timeout=50m", "-p=4", "-json"}
	if pattern != "" {
		args = append(args, "-run", pattern)
	}
	// The files of an interrupted compiler or test are removed with this folder.
	dir, err := os.MkdirTemp("", "microcomm-test-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	reader, writer := io.Pipe()
	failed := results.total.failed
	read := make(chan error, 1)
	go func() { read <- results.read(reader) }()
	ran := process.Run(ctx, process.Command{
		Args: append(args, what...), Dir: s.Dir, Env: append(env, "GOWORK=off", "TMPDIR="+dir, "TMP="+dir, "TEMP="+dir),
		Stdout: writer, Stderr: writer,
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(t.lab.out, "  … compiling and testing (%s)\n", elapsed)
		},
	})
	writer.Close()
	err = <-read
	if ctx.Err() != nil {
		return fmt.Errorf("test %s: %w", s.Name, ctx.Err())
	}
	if err != nil {
		return err
	}
	if ran != nil && results.total.failed == failed {
		fmt.Fprintf(t.lab.out, "  FAIL %v\n", ran)
		results.total.failed++ // its output has been printed
	}
	return nil
}

// check counts the outcome of a check as a test.
func (t *tester) check(count *tally, name string, err error) {
	var skipped skippedCheck
	switch {
	case err == nil:
		count.passed++
		fmt.Fprintf(t.lab.out, "  %s %s\n", colour(t.lab.out, "32", "ok  "), name)
	case errors.As(err, &skipped):
		count.skip(err.Error())
		fmt.Fprintf(t.lab.out, "  skip %s\n", name)
	default:
		count.failed++
		if errors.As(err, new(editsError)) {
			t.edits = append(t.edits, name)
		}
		fmt.Fprintf(t.lab.out, "  %s %s\n", colour(t.lab.out, "31", "FAIL"), name)
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(t.lab.out, "       %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// workspace runs the checks of all modules together.
func (t *tester) workspace(ctx context.Context, modules []repo.Stage) {
	fmt.Fprintln(t.lab.out, colour(t.lab.out, "1", "workspace"))
	start := time.Now()
	var count tally
	t.check(&count, "one version of each dependency", checkVersions(t.lab.root))
	t.check(&count, "staticcheck", checkStatic(ctx, modules))
	t.check(&count, "known vulnerabilities", checkVulnerabilities(ctx, modules))
	t.rows = append(t.rows, row{"workspace", count, time.Since(start).Seconds()})
}

// summary prints the table, what was not verified, and the counts.
func (t *tester) summary() error {
	var total tally
	table := tabwriter.NewWriter(t.lab.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\n%-15s\tpackages\ttests\tpassed\tfailed\tskipped\tseconds\t\n", "stage")
	seconds := 0.0
	write := func(r row) {
		fmt.Fprintf(table, "%-15s\t%d\t%d\t%d\t%d\t%d\t%.1f\t\n", r.name, r.tally.packages, r.tally.ran(), r.tally.passed, r.tally.failed, r.tally.skipped, r.seconds)
	}
	for _, r := range t.rows {
		write(r)
		total.add(r.tally)
		seconds += r.seconds
	}
	if len(t.rows) > 1 {
		write(row{"all", total, seconds})
	}
	table.Flush()
	fmt.Fprintln(t.lab.out)
	t.notVerified(total)
	switch edited := strings.Join(t.edits, ", "); {
	case edited != "" && total.failed > len(t.edits):
		fmt.Fprintf(t.lab.out, "Failed because a stage was edited: %s. The other failures, %d, say that something does not work.\n", edited, total.failed-len(t.edits))
	case edited != "":
		fmt.Fprintf(t.lab.out, "Failed only because a stage was edited: %s. The tests of its behaviour pass.\n", edited)
	}
	fmt.Fprintf(t.lab.out, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	if total.ran() == 0 {
		return errors.New("nothing was tested: no test matches")
	}
	if total.failed > 0 {
		return errReported
	}
	return nil
}

// notVerified prints why tests were skipped, and how many.
func (t *tester) notVerified(total tally) {
	sqlServer := 0
	reasons := maps.Clone(total.reasons)
	for reason, n := range reasons {
		if strings.Contains(reason, "SQLSERVER_URL") {
			sqlServer += n
			delete(reasons, reason)
		}
	}
	given := os.Getenv("SQLSERVER_URL") != ""
	switch {
	case sqlServer > 0 && given:
		fmt.Fprintf(t.lab.out, "SQL Server: SQLSERVER_URL is set, yet %d tests skipped\n", sqlServer)
	case sqlServer > 0:
		fmt.Fprintf(t.lab.out, "SQL Server: SQLSERVER_URL is not set, %d tests skipped\n", sqlServer)
	case given:
		fmt.Fprintln(t.lab.out, "SQL Server: SQLSERVER_URL is set, no test was skipped for lack of it")
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(t.lab.out, "Skipped, %d: %s\n", reasons[reason], reason)
	}
}
