// Command lab is the workbook's own tool: it checks the machine, runs a stage,
// tests it, and shows what a stage adds to the one before. Anywhere in the
// checkout: go tool lab help.
//
// It uses the standard library alone, so that a bare machine compiles it in
// seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// verb is one thing the tool does: `lab NAME ARGS`.
type verb struct {
	name string
	args string
	help string // its first line is the summary in the list of verbs
	run  func(ctx context.Context, l *lab, args []string) error
}

// verbs lists what the tool does, in the order of the help.
func verbs() []verb {
	return []verb{
		doctorVerb(),
		runVerb(),
		testVerb(),
		diffVerb(),
		forwardVerb(),
		deployVerb(),
		undeployVerb(),
		checkVerb(),
	}
}

// lab is what every verb works with.
type lab struct {
	root string    // the checkout's top folder
	out  io.Writer // what the user asked for
	err  io.Writer // progress and complaints
}

// errReported ends the program with status 1 without another word: the verb
// has already said what is wrong.
var errReported = errors.New("already reported")

// usageError is a mistake in the command line.
type usageError string

func (e usageError) Error() string { return string(e) }

func main() {
	os.Exit(mainStatus(os.Args[1:], os.Stdout, os.Stderr))
}

func mainStatus(args []string, stdout, stderr io.Writer) int {
	// SIGHUP: a closed terminal must not leave processes behind.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := dispatch(ctx, args, stdout, stderr)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "lab: interrupted")
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "lab: %s\n", err)
		return 2
	case !errors.Is(err, errReported):
		fmt.Fprintf(stderr, "lab: %s\n", err)
	}
	return 1
}

func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		args = append([]string{"help"}, args...)[:1]
	}
	if args[0] == "help" {
		return help(stdout, args[1:])
	}
	for _, v := range verbs() {
		if v.name != args[0] {
			continue
		}
		for _, arg := range args[1:] {
			if arg == "-h" || arg == "--help" {
				return help(stdout, args[:1])
			}
		}
		root, err := findRoot()
		if err != nil {
			return err
		}
		return v.run(ctx, &lab{root: root, out: stdout, err: stderr}, args[1:])
	}
	return usageError(fmt.Sprintf("there is no %q; try: go tool lab help", args[0]))
}

func help(w io.Writer, args []string) error {
	if len(args) == 0 {
		fmt.Fprintln(w, "The lab's tool. Usage: go tool lab VERB …")
		fmt.Fprintln(w)
		for _, v := range verbs() {
			summary, _, _ := strings.Cut(v.help, "\n")
			fmt.Fprintf(w, "  %-8s %s\n", v.name, summary)
		}
		fmt.Fprintln(w, "\nA stage is named 06, 06-rabbitmq or final. More on a verb: go tool lab help VERB")
		return nil
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			fmt.Fprintf(w, "Usage: go tool lab %s\n\n%s\n", strings.TrimSpace(v.name+" "+v.args), v.help)
			return nil
		}
	}
	return usageError(fmt.Sprintf("there is no %q; try: go tool lab help", args[0]))
}
