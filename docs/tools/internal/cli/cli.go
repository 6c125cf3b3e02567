// Package cli is what the tools' command lines share: the flags of the programs behind
// lab's commands, each declared once for the program and for lab's help, and suggestions
// for mistyped words.
package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
)

// UsageError is a mistake in the command line.
type UsageError string

func (e UsageError) Error() string { return string(e) }

// Drill is the flags of go tool lab drill.
type Drill struct {
	List, All, JSON, Short, Keys, Auth, Compare bool
	Out, Record                                 string
}

// Declare declares the flags in f, which sets d.
func (d *Drill) Declare(f *flag.FlagSet) {
	f.BoolVar(&d.List, "list", false, "show the drills of the stage, as without a NAME")
	f.BoolVar(&d.All, "all", false, "run all drills of the stage")
	f.BoolVar(&d.JSON, "json", false, "print the report as JSON")
	f.BoolVar(&d.Short, "short", false, "use a fifth of the time and lower counts, and do not judge how long things take")
	f.BoolVar(&d.Keys, "keys", false, "retry POSTs without a response, with an Idempotency-Key (final)")
	f.BoolVar(&d.Auth, "auth", false, "let every request need a token, of an issuer that the drill brings (final)")
	f.BoolVar(&d.Compare, "compare", false, "cause the same faults in stages 02, 06, 07 and final, for a table and a chart")
	f.StringVar(&d.Record, "record", "", "write what the console sees of it into `FILE`, for its page to play; at 2 POSTs a second")
	f.StringVar(&d.Out, "out", "", "with --compare: write compare.md and compare.svg into `DIR`")
}

// Bench is the flags of go tool lab bench.
type Bench struct {
	Only, Out string
	Quick     bool
	Rounds    int
}

// Declare declares the flags in f, which sets b.
func (b *Bench) Declare(f *flag.FlagSet) {
	f.StringVar(&b.Only, "only", "", "measure only the paths whose name contains `TEXT`")
	f.StringVar(&b.Out, "out", "", "write performance-table.md and performance.svg into `DIR`")
	f.BoolVar(&b.Quick, "quick", false, "use short rounds and few rows: for a try, not for figures to quote")
	f.IntVar(&b.Rounds, "rounds", 5, "measure each side `N` times (5)")
}

// Book is the flags of go tool lab book.
type Book struct {
	Out, Repository, PDF string
	Serve, Pictures      bool
}

// Declare declares the flags in f, which sets b.
func (b *Book) Declare(f *flag.FlagSet) {
	f.StringVar(&b.Out, "out", "", "write it into `DIR` (docs/book)")
	f.StringVar(&b.Repository, "repository", "", "lead to `URL` for \"edit this page\"; without it, to the page of git's remote")
	f.StringVar(&b.PDF, "pdf", "", "also print the whole course into `FILE`; needs Chromium")
	f.BoolVar(&b.Pictures, "pictures", false, "only draw the pictures whose source has changed, into docs/pictures; needs npm and Chromium")
	f.BoolVar(&b.Serve, "serve", false, "serve it on this machine until Ctrl-C")
}

// Class is the flags of go tool lab class.
type Class struct{ Listen, File string }

// Declare declares the flags in f, which sets c.
func (c *Class) Declare(f *flag.FlagSet) {
	f.StringVar(&c.Listen, "listen", ":7070", "listen at `ADDRESS`; :7070 means all networks of this machine")
	f.StringVar(&c.File, "file", "", "keep the results in `FILE` (.lab/class.json)")
}

// Verify is the flags of go tool lab verify.
type Verify struct{ Update, Cluster bool }

// Declare declares the flags in f, which sets v.
func (v *Verify) Declare(f *flag.FlagSet) {
	f.BoolVar(&v.Update, "update", false, "rewrite the output that documents show, where it differs")
	f.BoolVar(&v.Cluster, "cluster", false, "also run the commands that need a Kubernetes cluster")
}

// Parse parses args with f: flags may stand before and after the other arguments,
// which it returns. The error is flag.ErrHelp, or a UsageError.
func Parse(f *flag.FlagSet, args []string) ([]string, error) {
	f.SetOutput(io.Discard)
	var rest []string
	for {
		if err := f.Parse(args); err != nil {
			return nil, explain(f, err)
		}
		if f.NArg() == 0 {
			return rest, nil
		}
		rest = append(rest, f.Arg(0))
		args = f.Args()[1:]
	}
}

// explain adds advice to an error of the flag package.
func explain(f *flag.FlagSet, err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	advice := "see: go tool lab help " + f.Name()
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return UsageError(fmt.Sprintf("%v; %s", err, advice))
	}
	var names []string
	f.VisitAll(func(f *flag.Flag) { names = append(names, Dashes(f.Name)) })
	name = Dashes(name)
	return UsageError("unknown flag " + name + "; " + OrNearest(name, names, advice))
}

// Dashes is a flag as it is written.
func Dashes(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// Given are the flags of f that differ from their defaults, to pass to another program.
func Given(f *flag.FlagSet) []string {
	var given []string
	f.VisitAll(func(set *flag.Flag) {
		if set.Value.String() != set.DefValue {
			given = append(given, "--"+set.Name+"="+set.Value.String())
		}
	})
	return given
}
