package main

import (
	"context"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/legend"
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
a failure, the services' logs.

With a STAGE alone: its drills. The words of the table, which the run of a chapter
explains, too:
 ` + strings.ReplaceAll(strings.TrimSuffix(legend.Text, "\n"), "\n", "\n "),
	}
	for name, usage := range map[string]string{
		"list":    "show the drills of the stage, as without a NAME",
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
	v.flags.Func("out", "with --compare: write compare.md and compare.svg into `DIR`", func(value string) error {
		given = append(given, "--out="+value)
		return nil
	})
	v.run = func(ctx context.Context, l *lab, args []string) error {
		if len(args) > 0 {
			if _, err := l.findStage(args[0]); err != nil {
				return err
			}
		}
		return runProgram(ctx, l, "drill", slices.Concat(given, args))
	}
	return v
}
