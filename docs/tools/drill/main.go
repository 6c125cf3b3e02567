// Command drill breaks a stage's running system in a named way, under load, and
// judges what became of every platform. It is behind go tool lab drill.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/legend"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

const synopsis = `usage: drill STAGE
       drill STAGE NAME [--json] [--short] [--keys]
       drill STAGE --all [--json] [--short] [--keys]
       drill --compare [--out DIR] [--short]`

// errUsage is wrapped by a mistake in the command line.
var errUsage = errors.New("wrong usage")

// errFailed ends the program with status 1 without another word.
var errFailed = errors.New("a drill failed")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
		return
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "drill: interrupted")
		os.Exit(130)
	case errors.Is(err, errUsage):
		fmt.Fprintf(os.Stderr, "drill: %v\n%s\n", err, synopsis)
		os.Exit(2)
	case !errors.Is(err, errFailed):
		fmt.Fprintln(os.Stderr, "drill:", err)
	}
	os.Exit(1)
}

func command(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var opts options
	var asJSON, list, all, compare bool // list is the default of a stage alone
	var out string
	flags := flag.NewFlagSet("drill", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.BoolVar(&asJSON, "json", false, "")
	flags.BoolVar(&list, "list", false, "")
	flags.BoolVar(&all, "all", false, "")
	flags.BoolVar(&compare, "compare", false, "")
	flags.BoolVar(&opts.short, "short", false, "")
	flags.BoolVar(&opts.keys, "keys", false, "")
	flags.StringVar(&out, "out", "", "")
	var names []string
	for len(args) > 0 { // flags may stand before and after the names
		if err := flags.Parse(args); err != nil {
			return fmt.Errorf("%w: %w", errUsage, err)
		}
		if args = flags.Args(); len(args) > 0 {
			names, args = append(names, args[0]), args[1:]
		}
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "microcomm-drill-")
	if err != nil {
		return err
	}
	d := &driller{root: root, dir: dir, options: opts, progress: stderr}
	defer d.tidy()
	if compare && len(names) == 0 {
		return d.compare(ctx, stdout, out, asJSON)
	}
	if len(names) == 0 {
		return errUsage
	}
	s, err := findStage(root, names[0])
	if err != nil {
		return err
	}
	chosen := forStage(drills(), s.name)
	switch {
	case compare:
		return errUsage
	case len(names) == 1 && (list || !all):
		for _, drill := range chosen {
			fmt.Fprintln(stdout, layout.Wrap(fmt.Sprintf("%-16s %s", drill.name, drill.does), strings.Repeat(" ", 17)))
		}
		return nil
	case len(names) == 1:
		chosen = withKeys(chosen)
	case len(names) == 2:
		if chosen = named(chosen, names[1]); len(chosen) == 0 {
			return fmt.Errorf("%w: %s has no drill %q; go tool lab drill %s lists them", errUsage, s.name, names[1], names[0])
		}
	default:
		return errUsage
	}
	if err := s.build(ctx, dir, stderr); err != nil {
		return err
	}
	if opts.keys && s.name != "final" {
		return fmt.Errorf("%w: only final knows keys", errUsage)
	}
	var reports []report
	failed := false
	for _, drill := range chosen {
		rep := d.drill(ctx, s, drill)
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
		if s.name != "final" { // its readers know the words from the chapters
			fmt.Fprintf(stdout, "\n%s", legend.Text)
		}
		if len(reports) > 1 {
			summarise(stdout, reports)
		}
	}
	if failed {
		return errFailed
	}
	return nil
}

// withKeys adds, after each drill that leaves clients without a response, the same
// with clients that retry.
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

func named(all []drill, name string) []drill {
	for _, d := range all {
		if d.name == name {
			return []drill{d}
		}
	}
	return nil
}

// driller runs drills.
type driller struct {
	root     string
	dir      string // what all drills leave is under it
	options  options
	progress io.Writer
	kept     bool // something failed: its logs stay
	runs     int
}

// tidy removes what was left, unless it is worth a look.
func (d *driller) tidy() {
	if d.kept {
		fmt.Fprintln(d.progress, "the services' logs and databases are kept in", d.dir)
		return
	}
	process.RemoveAll(d.dir)
}

// drill runs one drill to its report.
func (d *driller) drill(ctx context.Context, s stage, what drill) report {
	start := time.Now()
	opts := d.options
	opts.keys = opts.keys || what.keys
	if what.killsBroker {
		opts.broker = ""
	}
	r, err := d.run(ctx, s, what.name, opts, func(ctx context.Context, r *run) error {
		if err := what.run(ctx, r); err != nil {
			return err
		}
		if what.expect != nil {
			return what.expect(ctx, r)
		}
		return nil
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

// run lets do drill a new system of stage s, of which nothing is left running.
func (d *driller) run(ctx context.Context, s stage, name string, opts options, do func(context.Context, *run) error) (*run, error) {
	ctx, cancel := context.WithCancel(ctx)
	d.runs++
	r := &run{options: opts, progress: startProgress(d.progress), ignore: map[string]bool{}}
	defer r.progress.stop()
	r.system = &system{
		stage: s, dir: filepath.Join(d.dir, fmt.Sprintf("%s-%s-%d", s.name, name, d.runs)),
		client: newClient(), delays: retryDelays(opts.short), ports: map[int]bool{},
	}
	defer r.close()
	defer cancel() // first, so that nothing is waited for
	if err := os.Mkdir(r.dir, 0o700); err != nil {
		return r, err
	}
	if err := r.startBroker(ctx, opts.broker, r.progress); err != nil {
		return r, err
	}
	err := do(ctx, r)
	if err == nil {
		err = r.alive()
	}
	return r, err
}

// showLogs prints the last complaints of each service.
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
func findStage(root, name string) (stage, error) {
	found, err := filepath.Glob(filepath.Join(root, "*", "go.mod"))
	if err != nil {
		return stage{}, err
	}
	for _, mod := range found {
		dir := filepath.Dir(mod)
		base := filepath.Base(dir)
		number, _, _ := strings.Cut(base, "-")
		if base != "docs" && (name == base || name == number || "0"+name == number) {
			return stage{name: base, dir: dir}, nil
		}
	}
	return stage{}, fmt.Errorf("%w: there is no stage %q", errUsage, name)
}
