package main

import (
	"context"
	"slices"
)

func verifyVerb() verb {
	var given []string // the flags, which are for the program that does the work
	v := verb{
		name:    "verify",
		args:    "[docs|http|exercises] [FILE…]",
		summary: "runs the documentation: commands, snippets, links, requests",
		about: `docs runs the commands of every Markdown file, in order and in a clean copy of the
checkout, and compares what they print; looks up every snippet in the file that it
names; and follows every relative link. http starts each stage and sends the requests
of docs/requests. Without a word: everything. A FILE is one to verify alone.

What the annotations of a code block mean: go doc microcomm/docs/verify, or the head
of docs/verify/main.go. It needs bash, and git.`,
	}
	for name, usage := range map[string]string{
		"update":  "rewrite the output that documents show, where it differs",
		"cluster": "also run the commands that need a Kubernetes cluster",
	} {
		v.flags.BoolFunc(name, usage, func(value string) error {
			given = append(given, "--"+name+"="+value)
			return nil
		})
	}
	v.run = func(ctx context.Context, l *lab, args []string) error {
		return runProgram(ctx, l, "verify", slices.Concat(given, args))
	}
	return v
}
