package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/internal/process"
	"microcomm/docs/internal/rabbitmq"
)

func benchVerb() verb {
	given := []string{}
	v := verb{
		name:    "bench",
		summary: "compares final with its floor: the bare libraries doing only that step",
		about: `Measures each path through final, and in turns with it a program that does only that
step by hand. What counts is the ratio, the median of several rounds of one run. It
brings a broker, and takes about a quarter of an hour. See docs/performance.md.`,
	}
	v.flags.BoolFunc("quick", "short rounds and few rows: to try it, not to quote", func(value string) error {
		given = append(given, "--quick="+value)
		return nil
	})
	for name, usage := range map[string]string{
		"only":   "measure only the paths whose name contains `TEXT`",
		"rounds": "measure each side `N` times (5)",
	} {
		v.flags.Func(name, usage, func(value string) error {
			given = append(given, "--"+name+"="+value)
			return nil
		})
	}
	v.flags.Func("out", "write performance-table.md and performance.svg into `DIR`", func(value string) error {
		dir, err := filepath.Abs(value)
		given = append(given, "--out="+dir)
		return err
	})
	v.run = func(ctx context.Context, l *lab, _ []string) error { return runBench(ctx, l, given) }
	return v
}

// runBench runs final/bench, a program of final's module.
func runBench(ctx context.Context, l *lab, args []string) error {
	if err := needCompiler(ctx); err != nil {
		return err
	}
	b, err := rabbitmq.Start(ctx, l.err)
	if err != nil {
		return err
	}
	defer b.Stop()
	return process.Run(ctx, process.Command{
		Args: append([]string{"go", "run", "./bench"}, args...),
		Dir:  filepath.Join(l.root, "final"), Env: append(os.Environ(), "GOWORK=off", "RABBITMQ_URL="+b.URL),
		Stdout: l.out, Stderr: l.err,
		Still: func(elapsed time.Duration) { fmt.Fprintf(l.err, "… %s\n", elapsed) },
	})
}
