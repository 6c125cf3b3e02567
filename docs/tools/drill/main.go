// Command drill breaks a stage's running system in a named way, under load, and
// checks what happened to every platform. go tool lab drill runs it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/legend"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

func main() {
	cli.Main("drill", func(ctx context.Context, args []string) error {
		return command(ctx, args, os.Stdout, os.Stderr)
	})
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var flags cli.Drill
	set := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.Declare(set)
	names, err := cli.Parse(set, args)
	if err != nil {
		return err
	}
	switch {
	case flags.Compare && len(names) > 0:
		return cli.UsageError("--compare goes without a STAGE")
	case !flags.Compare && len(names) == 0:
		return cli.UsageError("drill needs a STAGE, or --compare")
	case flags.Out != "" && !flags.Compare:
		return cli.UsageError("--out is for --compare")
	case len(names) > 2:
		return cli.UsageError("unexpected argument " + names[2])
	case flags.Auth && (flags.Compare || names[0] != "final"):
		return cli.UsageError("--auth is for final alone")
	case flags.Record != "" && len(names) != 2:
		return cli.UsageError("--record goes with a STAGE and a NAME")
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "microcomm-drill-")
	if err != nil {
		return err
	}
	d := &driller{root: root, dir: dir, options: options{short: flags.Short, keys: flags.Keys}, progress: stderr, record: flags.Record}
	defer d.tidy()
	if flags.Compare {
		return d.compare(ctx, stdout, flags.Out, flags.JSON)
	}
	s, err := findStage(root, names[0])
	if err != nil {
		return err
	}
	chosen, err := choose(s, names[1:], flags.Keys)
	if err != nil {
		return err
	}
	if len(names) == 1 && (flags.List || !flags.All) {
		for _, drill := range chosen {
			fmt.Fprintln(stdout, layout.Wrap(fmt.Sprintf("%-16s %s", drill.name, drill.does), strings.Repeat(" ", 17)))
		}
		return nil
	}
	if len(names) == 1 {
		chosen = withKeys(chosen)
	}
	if flags.Auth {
		chosen = slices.DeleteFunc(chosen, func(d drill) bool { return d.name == "cluster" })
		if len(chosen) == 0 {
			return cli.UsageError("--auth starts an issuer for services of the drill's own; cluster breaks those that are deployed")
		}
		stop, err := d.guard()
		if err != nil {
			return err
		}
		defer stop()
	}
	return d.runAll(ctx, s, chosen, flags.JSON, stdout)
}

// runAll runs drills of a stage and reports them. The error is cli.ErrReported if one of
// them failed.
func (d *driller) runAll(ctx context.Context, s repo.Stage, chosen []drill, asJSON bool, stdout io.Writer) error {
	compiled, err := build(ctx, s, d.dir, d.progress)
	if err != nil {
		return err
	}
	if d.record != "" {
		if d.recorder, err = newRecorder(ctx, d, chosen[0].does); err != nil {
			return err
		}
	}
	var reports []report
	failed := false
	for _, drill := range chosen {
		rep := d.drill(ctx, compiled, drill)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !asJSON {
			rep.write(stdout)
		}
		reports = append(reports, rep)
		failed = failed || !rep.Passed && rep.Skipped == ""
	}
	if asJSON {
		if err := writeJSON(stdout, reports); err != nil {
			return err
		}
	} else {
		if s.Name != "final" { // its readers know the words from 02, 06 and 07
			fmt.Fprintf(stdout, "\n%s", legend.Text)
		}
		if len(reports) > 1 {
			summarise(stdout, reports)
		}
	}
	if failed {
		return cli.ErrReported
	}
	return nil
}

// choose returns the drill of that name, or without a name all drills of the stage.
func choose(s repo.Stage, name []string, keys bool) ([]drill, error) {
	all := forStage(drills(), s.Name)
	if len(all) == 0 {
		return nil, cli.UsageError(s.Name + " has no drills; 02, 06, 07 and final have some")
	}
	if keys && s.Name != "final" {
		return nil, cli.UsageError("--keys is for final: a POST of " + s.Name + " has no Idempotency-Key")
	}
	if len(name) == 0 {
		return all, nil
	}
	var names []string
	for _, d := range all {
		if d.name == name[0] {
			return []drill{d}, nil
		}
		names = append(names, d.name)
	}
	return nil, cli.UsageError(fmt.Sprintf("%s has no drill %s; %s", s.Name, name[0],
		cli.OrNearest(name[0], names, "its drills are "+strings.Join(names, ", "))))
}

// withKeys adds, after each drill that leaves clients without a response, a variant
// whose clients retry.
func withKeys(chosen []drill) []drill {
	var both []drill
	for _, d := range chosen {
		both = append(both, d)
		if d.unanswered {
			d.keys = true
			both = append(both, d)
		}
	}
	return both
}

// driller runs drills.
type driller struct {
	root     string
	dir      string // holds the files of every drill
	options  options
	progress io.Writer
	record   string    // the file; empty: no drill is recorded
	recorder *recorder // nil: the same
	kept     bool      // something failed, so the files stay
	runs     int
}

// tidy removes the files of the drills, unless one of them failed.
func (d *driller) tidy() {
	if d.kept {
		fmt.Fprintln(d.progress, "the services' logs and databases are kept in", d.dir)
		return
	}
	process.RemoveAll(d.dir)
}

// drill runs one drill and returns its report.
func (d *driller) drill(ctx context.Context, s built, what drill) report {
	start := time.Now()
	opts := d.options
	opts.keys = opts.keys || what.keys
	if what.killsBroker {
		opts.broker = ""
	}
	r, err := d.run(ctx, s, what.name, opts, func(r *run) {
		what.run(r)
		if what.expect != nil {
			what.expect(r)
		}
		must(r.recorder.save(r, d.record))
	})
	rep := r.result(what, err, time.Since(start))
	if errors.Is(err, errSkipped) {
		rep.Skipped, rep.Error = err.Error(), ""
	} else if !rep.Passed && ctx.Err() == nil {
		d.kept = true
		r.showLogs()
	}
	return rep
}

// run performs script on a new system of stage s, and then ends that system.
func (d *driller) run(ctx context.Context, s built, name string, opts options, script func(*run)) (*run, error) {
	ctx, cancel := context.WithCancel(ctx)
	d.runs++
	r := &run{ctx: ctx, options: opts, progress: startProgress(d.progress), ignore: map[string]bool{}}
	defer r.progress.stop()
	r.system = &system{
		stage: s, dir: filepath.Join(d.dir, fmt.Sprintf("%s-%s-%d", s.Name, name, d.runs)),
		client: newClient(opts.bearer), access: opts.access, delays: retryDelays(opts.short), recorder: d.recorder,
	}
	defer r.close()
	defer cancel() // before close, which then waits for nothing
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return r, err
	}
	if err := r.startBroker(ctx, opts.broker, r.progress); err != nil {
		return r, err
	}
	err := r.perform(script)
	if err == nil {
		err = r.alive()
	}
	return r, err
}

// showLogs prints the last warnings and errors of each service.
func (r *run) showLogs() {
	for _, s := range r.all() {
		text, err := os.ReadFile(r.log(s))
		if err != nil {
			continue
		}
		var complaints strings.Builder
		for line := range strings.Lines(string(text)) {
			if !strings.Contains(line, "level=INFO") && !strings.Contains(line, `"level":"INFO"`) {
				complaints.WriteString(line)
			}
		}
		if complaints.Len() > 0 {
			fmt.Fprintf(r.progress, "\nfrom the end of %s:\n%s\n", r.log(s), process.LastLines(complaints.String(), 8))
		}
	}
}

// findStage is the stage called 06, 6 or 06-rabbitmq.
func findStage(root, name string) (repo.Stage, error) {
	stages, err := repo.Stages(root)
	if err != nil {
		return repo.Stage{}, err
	}
	at, err := repo.FindStage(stages, name)
	if err != nil {
		return repo.Stage{}, err
	}
	return stages[at], nil
}
