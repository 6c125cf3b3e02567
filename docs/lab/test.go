package main

import (
	"context"
	"errors"
	"flag"
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
)

func testVerb() verb {
	return verb{
		name: "test",
		args: "[STAGE…] [--no-broker] [--cluster] [-v] [-run RE]",
		help: `tests a stage with what it needs; no stage: everything CI runs

For each stage: go vet and go test -race of its module alone, then the checks: gofmt,
go mod tidy, and "What changes" in its README.md held against the real difference
from the stage before. No stage named: all of them, this tool, and one version of
each dependency everywhere.

Stages 06 to final need a broker: the one at RABBITMQ_URL, or one that is started for
the tests. --no-broker skips the tests that need it instead. Tests against SQL Server
run when SQLSERVER_URL is set. --cluster adds what the Kubernetes cluster of the current
context says of the manifests, and the e2e tests against the stage deployed there.

A test with subtests counts only through them; each check counts as one test.
  -v       shows what every test prints
  -run RE  runs only the tests that match, and no checks`,
		run: test,
	}
}

// testOptions is what the command line chose.
type testOptions struct {
	noBroker bool
	cluster  bool
	verbose  bool
	pattern  string
	all      bool // no stage named
}

func test(ctx context.Context, l *lab, args []string) error {
	var options testOptions
	flags := flag.NewFlagSet("test", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&options.noBroker, "no-broker", false, "")
	flags.BoolVar(&options.cluster, "cluster", false, "")
	flags.BoolVar(&options.verbose, "v", false, "")
	flags.StringVar(&options.pattern, "run", "", "")
	names, err := parseFlags(flags, args)
	if err != nil {
		return err
	}
	stages, err := listStages(l.root)
	if err != nil {
		return err
	}
	chosen, err := chooseStages(l.root, stages, names)
	if err != nil {
		return err
	}
	options.all = len(names) == 0
	if err := needCompiler(ctx); err != nil {
		return err
	}
	t := &tester{lab: l, options: options, stages: stages}
	defer t.close()
	for _, s := range chosen {
		if err := t.test(ctx, s); err != nil {
			return err
		}
	}
	if options.all && options.pattern == "" {
		t.workspace()
	}
	return t.summary()
}

// parseFlags allows flags before and after the other arguments, which it gives.
func parseFlags(flags *flag.FlagSet, args []string) ([]string, error) {
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, usageError(fmt.Sprintf("%v; try: go tool lab help %s", err, flags.Name()))
		}
		if flags.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, flags.Arg(0))
		args = flags.Args()[1:]
	}
}

// chooseStages gives the named stages, in their order; without names every one, and docs.
func chooseStages(root string, stages []stage, names []string) ([]stage, error) {
	docs := stage{name: "docs", dir: filepath.Join(root, "docs")}
	if len(names) == 0 {
		return append(slices.Clone(stages), docs), nil
	}
	var chosen []stage
	for _, name := range names {
		if strings.Trim(name, `/\`) == docs.name {
			chosen = append(chosen, docs)
			continue
		}
		at, err := findStage(stages, name)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, stages[at])
	}
	return slices.Compact(chosen), nil
}

// tester runs the tests of stages and keeps what came out.
type tester struct {
	lab     *lab
	options testOptions
	stages  []stage
	broker  *broker
	rows    []row
}

// row is a stage's line in the table.
type row struct {
	name    string
	tally   tally
	seconds float64
}

func (t *tester) close() {
	if t.broker != nil {
		t.broker.stop()
	}
}

func (t *tester) test(ctx context.Context, s stage) error {
	fmt.Fprintln(t.lab.out, colour(t.lab.out, "1", s.name))
	env := os.Environ()
	if s.needsBroker() && t.options.noBroker {
		env = append(env, "RABBITMQ_URL=")
	} else if s.needsBroker() {
		if t.broker == nil {
			b, err := startBroker(ctx, t.lab.out)
			if err != nil {
				return fmt.Errorf("%w\nTo go without the tests that need one: --no-broker", err)
			}
			t.broker = b
			fmt.Fprintln(t.lab.out, "broker:", b.what)
		}
		env = append(env, "RABBITMQ_URL="+t.broker.url)
	}
	start := time.Now()
	count, err := t.goTest(ctx, s, env)
	if err != nil {
		return err
	}
	if t.options.pattern == "" {
		t.check(&count, "gofmt", checkFormat(ctx, t.lab.root, s))
		t.check(&count, "tidy", checkTidy(ctx, s, t.options.all))
		if at := slices.IndexFunc(t.stages, func(x stage) bool { return x.name == s.name }); at > 0 {
			t.check(&count, "what changes", checkDelta(ctx, t.lab.root, t.stages[at-1], s))
		}
	}
	if t.options.cluster && s.has("k8s") {
		k, err := currentCluster(ctx, "")
		if err != nil {
			return err
		}
		t.check(&count, "manifests on the cluster", dryRun(ctx, k, s))
		t.check(&count, "e2e on the cluster", e2eOnCluster(ctx, t.lab, k, s))
	}
	t.rows = append(t.rows, row{s.name, count, time.Since(start).Seconds()})
	return ctx.Err()
}

// goTest runs vet and the tests of one module. An error means that they could
// not be run; what they found is in the tally.
func (t *tester) goTest(ctx context.Context, s stage, env []string) (tally, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Minute)
	defer cancel()
	// -vet=all is go vet, sharing what is compiled for the tests. -count=1: go
	// does not see that the programs which e2e builds have changed.
	cmd := exec.Command("go", "test", "-race", "-vet=all", "-count=1", "-p=4", "-json")
	if t.options.pattern != "" {
		cmd.Args = append(cmd.Args, "-run", t.options.pattern)
	}
	cmd.Args = append(cmd.Args, "./...")
	cmd.Dir = s.dir
	// What an interrupted compiler or test leaves in its temporary folder goes with it.
	dir, err := os.MkdirTemp("", "microcomm-test-")
	if err != nil {
		return tally{}, err
	}
	defer removeAll(dir)
	cmd.Env = append(env, "GOWORK=off", "TMPDIR="+dir, "TMP="+dir, "TEMP="+dir)
	reader, writer := io.Pipe()
	p, err := startProcess("go test", cmd, writer)
	if err != nil {
		return tally{}, err
	}
	results := newTestResults(t.lab.out, s.module(), t.options.verbose)
	read := make(chan error, 1)
	go func() { read <- results.read(reader) }()
	tick := time.NewTicker(20 * time.Second)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-p.done:
			writer.Close()
			if err := <-read; err != nil {
				return tally{}, err
			}
			if p.err != nil && results.total.failed == 0 {
				fmt.Fprintf(t.lab.out, "  FAIL go test: %v\n", p.err)
				results.total.failed++ // what it said has been passed on
			}
			return results.total, nil
		case <-tick.C:
			fmt.Fprintf(t.lab.out, "  … compiling and testing (%.0fs)\n", time.Since(start).Seconds())
		case <-ctx.Done():
			p.interrupt(5 * time.Second)
			writer.Close()
			<-read
			return tally{}, fmt.Errorf("test %s: %w", s.name, ctx.Err())
		}
	}
}

// check counts a check's outcome as that of a test.
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
		fmt.Fprintf(t.lab.out, "  %s %s\n", colour(t.lab.out, "31", "FAIL"), name)
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(t.lab.out, "       %s\n", strings.TrimRight(line, "\n"))
		}
	}
}

// workspace runs the checks of all modules together.
func (t *tester) workspace() {
	fmt.Fprintln(t.lab.out, colour(t.lab.out, "1", "workspace"))
	start := time.Now()
	var count tally
	t.check(&count, "one version of each dependency", checkVersions(t.lab.root))
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
	fmt.Fprintf(t.lab.out, "%d passed, %d failed, %d skipped\n", total.passed, total.failed, total.skipped)
	if total.ran() == 0 {
		return errors.New("nothing was tested: no test matches")
	}
	if total.failed > 0 {
		return errReported
	}
	return nil
}

// notVerified says in words what the skipped tests would have shown.
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
		fmt.Fprintln(t.lab.out, "SQL Server: SQLSERVER_URL is set, no test was skipped for want of it")
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(t.lab.out, "Skipped, %d: %s\n", reasons[reason], reason)
	}
}
