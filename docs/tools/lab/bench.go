package main

import (
	"context"
	"path/filepath"
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
	v.run = func(ctx context.Context, l *lab, _ []string) error { return runProgram(ctx, l, "bench", given) }
	return v
}
