// Command verify checks the documentation against the code: it runs the commands of
// every Markdown file and compares their output, looks up every snippet, link and anchor,
// sends the requests of docs/requests, and opens the book. go tool lab verify runs it.
//
// # Annotations
//
// The words after the language of a code fence say what the block is for:
//
//	sh run                        no command may fail; exit=N: the first that fails must exit N;
//	                              eventually: run again, for a while, until status and output are as shown
//	sh background ready="TEXT"    a second terminal, until the document ends; the next block waits for TEXT;
//	                              replaces: ends the background before it first; replaces=N: the last N
//	sh manual reason="WHY"        not run
//	sh cluster                    run only with --cluster; may stand beside run and background
//	text output                   what the block before prints; a line … stands for any lines;
//	                              partial: other lines may stand between; background: it is in the output of
//	                              the background that was started last
//	go file=PATH                  lines of that file; a line // … stands for lines left out
//	go sketch                     not in any file
//	json example                  not the output of anything
//
// One bash runs all run blocks of a document, beginning at the top of a clean copy of the
// checkout. A background begins there too, with the variables that the run blocks before
// it have exported. The ports and /tmp are not those that the document shows: see [ports].
//
// # Normalised before comparing
//
// [normalise] says what varies from run to run and is not compared.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

// verifier holds what every part needs.
type verifier struct {
	root    string // the checkout's top folder
	temp    string // removed at the end
	update  bool   // rewrite the output that documents show
	cluster bool   // run the blocks that need a cluster
	limits  limits
	ports   portPool
	report  *report
}

// parts returns the parts of verify, by name. Each receives the files to verify, or none
// for all. An error means that it could not run; its findings are in the report.
func (v *verifier) parts() []part {
	return []part{
		{"docs", v.docs},
		{"http", v.http},
		{"book", v.book},
	}
}

type part struct {
	name string
	run  func(ctx context.Context, files []string) error
}

func main() {
	cli.Main("verify", func(ctx context.Context, args []string) error {
		return command(ctx, args, os.Stdout)
	})
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	var flags cli.Verify
	set := flag.NewFlagSet("verify", flag.ContinueOnError)
	flags.Declare(set)
	names, err := cli.Parse(set, args)
	if err != nil {
		return err
	}
	v := &verifier{update: flags.Update, cluster: flags.Cluster, limits: defaultLimits, report: &report{out: stdout}}
	parts := v.parts()
	if len(names) > 0 {
		at := slices.IndexFunc(parts, func(p part) bool { return p.name == names[0] })
		if at < 0 {
			return cli.UsageError("nothing to verify is called " + names[0])
		}
		parts, names = parts[at:at+1], names[1:]
	}
	if v.root, err = repo.Root(); err != nil {
		return err
	}
	if names, err = fromRoot(v.root, names); err != nil {
		return err
	}
	if v.temp, err = os.MkdirTemp("", "microcomm-verify-"); err != nil {
		return err
	}
	defer process.RemoveAll(v.temp)
	for _, p := range parts {
		if err := p.run(ctx, names); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	return v.report.summary()
}
