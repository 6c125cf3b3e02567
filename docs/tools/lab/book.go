package main

import (
	"context"

	"microcomm/docs/tools/internal/cli"
)

func bookVerb() verb {
	v := verb{
		name:    "book",
		summary: "makes a site of the lessons, with their code and diffs, to read in a browser",
		about: `A static site, made of the READMEs and the docs: each lesson with the diff of its
stage beside it, the exercises, and the whole code of each stage. Open index.html, also
without a network.`,
	}
	new(cli.Book).Declare(&v.flags)
	v.run = func(ctx context.Context, l *lab, _ []string) error {
		return runTool(ctx, l, "book", cli.Given(&v.flags))
	}
	return v
}
