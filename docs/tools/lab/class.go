package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/class"
	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/exercise"
)

func classVerb() verb {
	v := verb{
		name:    "class",
		summary: "serves a workshop's board: who is at which exercise, and which tests stop most people",
		about: `For an instructor. Learners who want to be seen run
  go tool lab check STAGE EXERCISE --report URL
and the board shows their name, the exercise, the result and the time. Nothing else is sent,
and nothing without --report. Everyone who can reach this machine can see the board, and can
report under any name. It keeps the results in a file, so that it can be restarted.
The book is served beside it, if go tool lab book has made it.`,
	}
	new(cli.Class).Declare(&v.flags)
	v.run = func(ctx context.Context, l *lab, _ []string) error {
		if _, err := os.Stat(filepath.Join(l.root, "docs", "book", "index.html")); err != nil {
			fmt.Fprintln(l.err, "without the book: go tool lab book makes it")
		}
		return runTool(ctx, l, "class", cli.Given(&v.flags))
	}
	return v
}

// reporter is the name under which a learner reports.
func (o checkOptions) reporter() string {
	return strings.TrimSpace(cmp.Or(o.name, os.Getenv("USER"), os.Getenv("USERNAME")))
}

// reportFault says what is wrong with the flags of a report, or nil.
func reportFault(o checkOptions) error {
	to, err := url.Parse(o.report)
	switch {
	case err != nil || to.Scheme != "http" || to.Hostname() == "":
		return usageError("--report needs the address that lab class prints, such as http://192.0.2.1:7070")
	case o.reporter() == "":
		return usageError("--report needs a --name")
	}
	return nil
}

// sendReport sends a result to a board. That it can't is only said: it says nothing about the solution.
func (l *lab) sendReport(ctx context.Context, o checkOptions, e *exercise.Exercise, v verdict) {
	r := class.Report{Name: o.reporter(), Stage: e.Stage, Exercise: e.Name, Passed: v.counts, Held: v.held, Total: v.total, Failed: v.failed}
	if err := postReport(ctx, o.report, r); err != nil {
		fmt.Fprintf(l.err, "not reported: %v\n", err)
		return
	}
	fmt.Fprintf(l.out, "Reported to %s as %s.\n", o.report, r.Name)
}

func postReport(ctx context.Context, board string, r class.Report) error {
	to, err := url.Parse(board)
	if err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	address := net.JoinHostPort(to.Hostname(), cmp.Or(to.Port(), "80"))
	status, said, err := request(ctx, address, "POST", class.Path, string(body))
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "2") {
		return errors.New(strings.TrimSpace(status + ": " + said))
	}
	return nil
}
