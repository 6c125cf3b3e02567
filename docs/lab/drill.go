package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"microcomm/docs/internal/process"
)

func drillVerb() verb {
	var given []string // the flags, which are for the program that does the work
	v := verb{
		name:    "drill",
		args:    "[STAGE] [NAME]",
		summary: "breaks a stage under load, and counts what was lost",
		about: `Builds and starts the stage's services, with a broker of their own where they need
one, and sends POSTs. Then it does the named fault, mends it, waits until everything
has settled, and compares what was accepted with what both services have. The exit
status is 1 when that is not what the drill expects; in some chapters it expects a
loss. It needs no free port in particular, and leaves nothing behind but, after
a failure, the services' logs.`,
	}
	for name, usage := range map[string]string{
		"list":    "show the drills of the stage",
		"all":     "run all drills of the stage",
		"json":    "print the report as JSON",
		"short":   "a fifth of the time and fewer counts, and no judgement of how long things take",
		"keys":    "retry POSTs without a response, with an Idempotency-Key (final)",
		"compare": "do the same faults to stages 02, 06, 07 and final: a table and a chart",
	} {
		v.flags.BoolFunc(name, usage, func(value string) error {
			given = append(given, "--"+name+"="+value)
			return nil
		})
	}
	v.flags.Func("out", "with --compare: the folder `DIR` for compare.md and compare.svg, by default docs/drill", func(value string) error {
		given = append(given, "--out="+value)
		return nil
	})
	v.run = func(ctx context.Context, l *lab, args []string) error {
		if len(args) > 0 {
			if _, err := l.findStage(args[0]); err != nil {
				return err
			}
		}
		return drill(ctx, l, slices.Concat(given, args))
	}
	return v
}

// drill runs docs/drill, a program of its own so that this one stays quick to compile.
func drill(ctx context.Context, l *lab, args []string) error {
	if err := needCompiler(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "microcomm-drill-program-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	program := filepath.Join(dir, "drill.exe")
	err = process.Run(ctx, process.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", program, "./drill"},
		Dir:  filepath.Join(l.root, "docs"), Env: append(os.Environ(), "GOWORK=off"), Stdout: l.err, Stderr: l.err,
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(l.err, "building the drills: %s (the first build compiles SQLite, which takes a minute or two)\n", elapsed)
		},
	})
	if err != nil {
		return fmt.Errorf("build docs/drill: %w", err)
	}
	p, err := process.Start(process.Command{Args: append([]string{program}, args...), Stdout: l.out, Stderr: l.err})
	if err != nil {
		return err
	}
	defer p.Stop(15 * time.Second) // it has a system to end
	err = p.Wait(ctx)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return usageError("see: go tool lab help drill")
	}
	if errors.As(err, &exit) {
		return errReported
	}
	return err
}
