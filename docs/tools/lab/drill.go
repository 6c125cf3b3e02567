package main

import (
	"context"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/legend"
)

func drillVerb() verb {
	v := verb{
		name:    "drill",
		args:    "[STAGE] [NAME]",
		summary: "breaks a stage under load, and counts what was lost",
		about: `Builds and starts the stage's services, with a private broker where they need one, and
sends POSTs. Then it causes the named fault, repairs it, waits until everything
has settled, and compares what was accepted with what both services have. The exit
status is 1 when that is not what the drill expects; in some stages it expects a
loss. It needs no particular free port, and leaves nothing behind except, after
a failure, the services' logs.

With only a STAGE, it lists that stage's drills. The words of the table, which a drill
of 02, 06 or 07 explains as well:
 ` + strings.ReplaceAll(strings.TrimSuffix(legend.Text, "\n"), "\n", "\n "),
	}
	var options cli.Drill
	options.Declare(&v.flags)
	v.run = func(ctx context.Context, l *lab, args []string) error {
		if len(args) == 0 && !options.Compare {
			return usageError("drill needs a STAGE, or --compare; see: go tool lab help drill")
		}
		if len(args) > 0 {
			if _, err := l.findStage(args[0]); err != nil {
				return err
			}
		}
		return runTool(ctx, l, "drill", slices.Concat(cli.Given(&v.flags), args))
	}
	return v
}
