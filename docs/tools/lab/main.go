// Command lab is the workbook's tool: it checks the machine, runs a stage, tests it, and
// shows what it adds to the stage before. Anywhere in the checkout: go tool lab help.
//
// It uses only the standard library, so that a new machine compiles it in seconds.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/repo"
)

// verbs returns the commands, in the order of the help.
func verbs() []verb {
	return []verb{
		doctorVerb(),
		tourVerb(),
		runVerb(),
		pauseVerb(),
		resumeVerb(),
		tokenVerb(),
		brokerVerb(),
		testVerb(),
		diffVerb(),
		forwardVerb(),
		deployVerb(),
		undeployVerb(),
		checkVerb(),
		hintVerb(),
		solutionVerb(),
		resetVerb(),
		progressVerb(),
		watchVerb(),
		drillVerb(),
		dlqVerb(),
		benchVerb(),
		bookVerb(),
		classVerb(),
		offlineVerb(),
		verifyVerb(),
	}
}

// lab holds what every verb needs.
type lab struct {
	root   string       // the checkout's top folder
	stages []repo.Stage // in order, final last
	out    io.Writer    // results
	err    io.Writer    // progress and errors
}

// errReported ends the program with status 1 without another message: the verb
// has already printed it.
var errReported = errors.New("already reported")

// errUsageReported is errReported for a mistake in the command line: status 2.
var errUsageReported = errors.New("wrong usage, already reported")

// usageError is a mistake in the command line.
type usageError = cli.UsageError

func main() {
	os.Exit(mainStatus(os.Args[1:], os.Stdout, os.Stderr))
}

func mainStatus(args []string, out, err *os.File) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	signals := make(chan os.Signal, 1)
	// SIGHUP: a closed terminal must not leave processes behind.
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		stop()
		// A terminal's Ctrl-C reaches us twice: go tool forwards its own. A later one
		// ends lab at once.
		<-time.After(time.Second)
		signal.Stop(signals)
	}()
	// When the reader of our output has ended, as head does, we stop as after Ctrl-C.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	stdout, stderr := watchPipe(out, stop), watchPipe(err, stop)
	if os.Getenv("RABBITMQ_URL") == "" {
		os.Unsetenv("RABBITMQ_URL") // empty counts as unset, for child processes too
	}
	return status(ctx, dispatch(ctx, args, stdout, stderr), stderr)
}

// status prints the error, and returns the exit status.
func status(ctx context.Context, err error, stderr io.Writer) int {
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, syscall.EPIPE):
		return 1 // the reader has ended
	case errors.Is(err, context.Canceled) && ctx.Err() != nil:
		fmt.Fprintln(stderr, "lab: interrupted")
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "lab: %s\n", err)
		return 2
	case errors.Is(err, errUsageReported):
		return 2
	case !errors.Is(err, errReported):
		fmt.Fprintf(stderr, "lab: %s\n", err)
	}
	return 1
}

// dispatch shows help, or finds the checkout and runs the verb in args.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 || args[0] == "-h" || args[0] == "--help" {
		args = []string{"help"}
	}
	if args[0] == "help" {
		return help(stdout, args[1:])
	}
	if _, err := findVerb(args[0]); err != nil {
		return err
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	stages, err := repo.Stages(root)
	if err != nil {
		return err
	}
	return (&lab{root: root, stages: stages, out: stdout, err: stderr}).do(ctx, args...)
}

// do parses the command line of one verb and runs it.
func (l *lab) do(ctx context.Context, args ...string) error {
	v, err := findVerb(args[0])
	if err != nil {
		return err
	}
	rest, err := v.parse(args[1:])
	if errors.Is(err, errHelp) {
		v.help(l.out)
		return nil
	}
	if err != nil {
		return err
	}
	return v.run(ctx, l, rest)
}
