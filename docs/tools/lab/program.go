package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/process"
)

// runProgram builds and runs docs/tools/NAME, a program of its own so that this one
// stays quick to compile. Its exit status 2 is a mistake in the command line.
func runProgram(ctx context.Context, l *lab, name string, args []string) error {
	if err := needCompiler(ctx); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "microcomm-"+name+"-program-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	program := filepath.Join(dir, name+".exe")
	l.announce(ctx, filepath.Join(l.root, "docs"), false, "./tools/"+name)
	err = process.Run(ctx, process.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", program, "./tools/" + name},
		Dir:  filepath.Join(l.root, "docs"), Env: append(os.Environ(), "GOWORK=off"), Stdout: l.err, Stderr: l.err,
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(l.err, "building docs/tools/%s: %s\n", name, elapsed)
		},
	})
	if err != nil {
		return fmt.Errorf("build docs/tools/%s: %w", name, err)
	}
	p, err := process.Start(process.Command{Args: append([]string{program}, args...), Stdout: l.out, Stderr: l.err})
	if err != nil {
		return err
	}
	defer p.Stop(30 * time.Second) // it has processes to end
	err = p.Wait(ctx)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return usageError("see: go tool lab help " + name)
	}
	if errors.As(err, &exit) {
		return errReported
	}
	return err
}
