package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// ErrReported ends a program with status 1 without another message: its report has
// said why.
var ErrReported = errors.New("already reported")

// Main runs command with the program's arguments, ends its context at Ctrl-C, and exits
// with the status that its error asks for.
func Main(name string, command func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := command(ctx, os.Args[1:])
	status := exitStatus(ctx, name, err, os.Stderr)
	stop()
	os.Exit(status)
}

// exitStatus is the status for err, which it prints: 0 without one, 130 after Ctrl-C,
// 2 for a [UsageError], 1 for any other.
func exitStatus(ctx context.Context, name string, err error, stderr io.Writer) int {
	var usage UsageError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, name+": interrupted")
		return 130
	case errors.As(err, &usage):
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
		return 2
	case !errors.Is(err, ErrReported):
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	return 1
}
