package main

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"microcomm/docs/tools/internal/cli"
)

func verifyVerb() verb {
	v := verb{
		name:    "verify",
		args:    "[docs|http|book|exercises] [FILE…]",
		summary: "verifies what the workbook says: commands, snippets, links, requests, exercises",
		about: `docs runs the commands of every Markdown file, in order and in a clean copy of the
checkout, and compares their output; looks up every snippet in the file that it names; and
follows every relative link. http starts each stage and sends the requests of
docs/requests. With FILEs, it verifies only those. book builds the site of lab book, follows
every link, compares its diffs with those of lab diff, and opens a page of each kind in
Chromium: it must need no other host, fit a phone, and be accessible. exercises
[STAGE [EXERCISE]] verifies each exercise in a copy of the checkout: its tests compile with
the original stage, and each of them fails there; with solution.patch they pass, with the
race detector and vet, and so do the tests of every package that the solution can affect,
and e2e; each mutant is rejected by the test in its name. Without an argument, it verifies everything.

What the annotations of a code block mean: go doc microcomm/docs/tools/verify, or the head
of docs/tools/verify/main.go. It needs bash, and git.`,
	}
	new(cli.Verify).Declare(&v.flags)
	v.run = func(ctx context.Context, l *lab, args []string) error {
		parts := []string{"docs", "http", "book", "exercises"}
		if len(args) > 0 && args[0] == "exercises" {
			return verifyExercises(ctx, l, args[1:])
		}
		if len(args) > 0 && !slices.Contains(parts, args[0]) {
			return usageError("there is no " + args[0] + " to verify; " + cli.OrNearest(args[0], parts, "verify accepts docs, http, book or exercises"))
		}
		err := runTool(ctx, l, "verify", slices.Concat(cli.Given(&v.flags), args))
		if len(args) > 0 || err != nil && !errors.Is(err, errReported) {
			return err
		}
		return cmp.Or(verifyExercises(ctx, l, nil), err)
	}
	return v
}
