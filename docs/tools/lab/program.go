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

// runTool builds and runs docs/tools/NAME, a separate program so that this one compiles
// quickly.
func runTool(ctx context.Context, l *lab, name string, args []string) error {
	if err := needCompiler(ctx); err != nil {
		return err
	}
	l.announce(ctx, filepath.Join(l.root, "docs"), false, "./tools/"+name)
	return runProgram(ctx, l, "docs", "tools/"+name, args)
}

// runProgram builds and runs a program of a module of the checkout. Its exit status
// 2 is a mistake in the command line.
func runProgram(ctx context.Context, l *lab, module, path string, args []string) error {
	name := filepath.Base(path)
	dir, err := os.MkdirTemp("", "microcomm-"+name+"-program-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	program, err := buildProgram(ctx, l, module, path, dir)
	if err != nil {
		return err
	}
	p, err := process.Start(process.Command{Args: append([]string{program}, args...), Stdout: l.out, Stderr: l.err})
	if err != nil {
		return err
	}
	err = p.Wait(ctx)
	p.Stop(30 * time.Second) // it may have processes to end, and a last word
	if ctx.Err() != nil && p.Err() == nil {
		return nil // Ctrl-C is how a server ends
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 2 {
		return errUsageReported
	}
	if errors.As(err, &exit) {
		return errReported
	}
	return err
}

// buildProgram builds a program of a module of the checkout into dir, and returns
// its path.
func buildProgram(ctx context.Context, l *lab, module, path, dir string) (string, error) {
	program := filepath.Join(dir, filepath.Base(path)+".exe")
	err := process.Run(ctx, process.Command{
		Args: []string{"go", "build", "-buildvcs=false", "-o", program, "./" + path},
		Dir:  filepath.Join(l.root, module), Env: append(os.Environ(), "GOWORK=off"), Stdout: l.err, Stderr: l.err,
		Still: func(elapsed time.Duration) {
			fmt.Fprintf(l.err, "building %s/%s: %s\n", module, path, elapsed)
		},
	})
	if err != nil {
		return "", fmt.Errorf("build %s/%s: %w", module, path, err)
	}
	return program, nil
}
