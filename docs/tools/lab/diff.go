package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

func diffVerb() verb {
	var options diffOptions
	v := verb{
		name:    "diff",
		args:    "STAGE [STAGE2] [PIECE…]",
		summary: "shows what a stage changes in the one before it",
		about: `Shows a list of the files, then the difference from the stage before (or from STAGE
to STAGE2) in reading order: changed Go, new Go in the order of the stage's README,
SQL and .proto, manifests and other files, go.mod. A file that equals one already shown
gets one line. The stages' own module paths count as equal. README.md, PIECES.md,
pieces/, go.sum, exercises/ and indirect requirements are left out; generated code is
only listed.

A PIECE is a heading under "What changes" in the stage's README.md or PIECES.md, or a
part or a pattern of the files' paths. A stage with such headings is shown one piece at
a time, in the order of its table. A piece may show only some declarations of a file,
and fold a file; to see all of it, name the file. With --tests, the tests x_test.go of
a file x.go are shown with the first piece that lists x.go:
  go tool lab diff 06 subscriber
  go tool lab diff final outbox
  go tool lab diff final subscriber.go
  go tool lab diff --tests final outbox
  go tool lab diff final .          (all of it)`,
		run: func(ctx context.Context, l *lab, names []string) error { return diff(ctx, l, options, names) },
	}
	v.flags.BoolVar(&options.stat, "stat", false, "show only the list of files")
	v.flags.BoolVar(&options.tests, "tests", false, "show the tests too, after the code")
	return v
}

// diffOptions are the flags of diff.
type diffOptions struct{ stat, tests bool }

func diff(ctx context.Context, l *lab, options diffOptions, args []string) error {
	before, after, piece, err := l.stagesToDiff(args)
	if err != nil {
		return err
	}
	compared, err := changes.Compare(ctx, l.root, before, after, coloured(l.out))
	if err != nil {
		return err
	}
	c := comparison{Comparison: compared}
	if piece != "" {
		if err := c.choose(piece, options.tests); err != nil {
			return err
		}
	}
	c.NoteTwins()
	var text bytes.Buffer
	c.writeStat(&text, options.tests)
	switch {
	case options.stat:
	case piece == "" && len(c.Pieces) > 0:
		c.writePieces(&text)
	default:
		c.writePatches(&text, options.tests)
	}
	return page(ctx, l, text.Bytes())
}

// stagesToDiff reads STAGE [STAGE2] [PIECE…].
func (l *lab) stagesToDiff(args []string) (before, after repo.Stage, piece string, err error) {
	first, err := l.findStage(args[0])
	if err != nil {
		return before, after, "", err
	}
	args = args[1:]
	if len(args) > 0 {
		if second, err := l.findStage(args[0]); err == nil {
			return l.stages[first], l.stages[second], strings.Join(args[1:], " "), nil
		}
	}
	if first == 0 {
		return before, after, "", usageError(fmt.Sprintf("%s is the first stage; no stage comes before it", l.stages[0].Name))
	}
	return l.stages[first-1], l.stages[first], strings.Join(args, " "), nil
}

// page shows the text in git's pager if the output is a terminal that can scroll.
func page(ctx context.Context, l *lab, text []byte) error {
	pager := ""
	if isTerminal(l.out) && os.Getenv("TERM") != "dumb" {
		pager, _ = repo.Git(ctx, l.root, "var", "GIT_PAGER")
		pager = strings.TrimSpace(pager)
	}
	if pager == "" || pager == "cat" {
		_, err := l.out.Write(text)
		return err
	}
	env := os.Environ()
	for _, setting := range []string{"LESS=FRX", "LV=-c"} {
		name, _, _ := strings.Cut(setting, "=")
		if _, set := os.LookupEnv(name); !set {
			env = append(env, setting)
		}
	}
	// Ctrl-C belongs to the pager; git ends only after the pager
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt)
	defer signal.Stop(interrupts)
	// through git's shell, as git does, so that it works on Windows too;
	// no time limit: the reader ends it
	err := process.Run(context.WithoutCancel(ctx), process.Command{
		Args: []string{"git", "-c", "alias.page=!" + pager, "page"}, Dir: l.root, Env: env,
		Stdin: bytes.NewReader(text), Stdout: l.out, Stderr: l.err, Foreground: true,
	})
	if len(interrupts) > 0 {
		return nil
	}
	return err
}
