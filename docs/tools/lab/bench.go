package main

import (
	"context"

	"microcomm/docs/tools/internal/cli"
)

func benchVerb() verb {
	v := verb{
		name:    "bench",
		summary: "compares final with its floor: the bare libraries doing only that step",
		about: `Measures each path through final, and in turns with it a program that does only that
step by hand. What counts is the ratio, the median of several rounds of one run. It
starts its own broker, and takes about a quarter of an hour. See docs/performance.md.`,
	}
	new(cli.Bench).Declare(&v.flags)
	v.run = func(ctx context.Context, l *lab, _ []string) error {
		return runTool(ctx, l, "bench", cli.Given(&v.flags))
	}
	return v
}
