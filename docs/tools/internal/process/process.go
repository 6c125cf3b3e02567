// Package process runs other programs, to their end or beside this one. A child has its
// own process group, so that the terminal's Ctrl-C reaches it only through its owner.
package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Command is a program to run.
type Command struct {
	Args []string // the program and its arguments
	Dir  string   // where it runs; empty: here
	Env  []string // nil: the environment of this process

	Stdin  io.Reader // nil: empty
	Stdout io.Writer // nil: its end is in the error
	Stderr io.Writer // nil: its end is in the error

	Still      func(elapsed time.Duration) // called every ten seconds while Run waits
	Foreground bool                        // it stays in our process group, to read the terminal's keys
	Outlives   bool                        // it survives us, since half of its work would be worse
}

// Process is a child that has been started.
type Process struct {
	name    string
	command Command
	cmd     *exec.Cmd
	ending  tail
	done    chan struct{}
	err     error // read it after done
}

// Start starts a program beside this one. The caller must wait for Done, or end it.
func Start(c Command) (*Process, error) {
	p := &Process{name: c.Args[0], command: c, cmd: exec.Command(c.Args[0], c.Args[1:]...), done: make(chan struct{})}
	if len(c.Args) > 1 && !strings.HasPrefix(c.Args[1], "-") {
		p.name += " " + c.Args[1]
	}
	p.cmd.Dir, p.cmd.Env, p.cmd.Stdin, p.cmd.Stdout, p.cmd.Stderr = c.Dir, c.Env, c.Stdin, c.Stdout, c.Stderr
	if c.Stdout == nil {
		p.cmd.Stdout = &p.ending
	}
	if c.Stderr == nil {
		p.cmd.Stderr = &p.ending
	}
	p.cmd.WaitDelay = time.Second // a grandchild that holds the pipe must not hold us
	prepare(p.cmd, c)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", p.name, err)
	}
	go func() {
		defer close(p.done)
		if err := p.cmd.Wait(); !errors.Is(err, exec.ErrWaitDelay) { // a grandchild holds the pipe: no failure of the child
			p.err = err
		}
	}()
	return p, nil
}

// Run runs a program to its end. When ctx is done, Run interrupts the program and
// everything that it has started. The error wraps an *exec.ExitError if the program failed.
func Run(ctx context.Context, c Command) error {
	p, err := Start(c)
	if err != nil {
		return err
	}
	err = p.Wait(ctx)
	if ctx.Err() != nil {
		p.Interrupt(2 * time.Second)
	}
	return err
}

// Output is Run that returns the program's output, even if the program failed.
func Output(ctx context.Context, c Command) (string, error) {
	var out strings.Builder
	c.Stdout = &out
	err := Run(ctx, c)
	return out.String(), err
}

// Wait waits until the process has ended, and returns how, or until ctx is done.
func (p *Process) Wait(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for start := time.Now(); ; {
		select {
		case <-p.done:
			return p.Err()
		case <-tick.C:
			if p.command.Still != nil {
				p.command.Still(time.Since(start).Round(time.Second))
			}
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", p.name, ctx.Err())
		}
	}
}

// Done is closed when the process has ended and its output is written.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err says how the process ended; nil means success. Call it after Done.
func (p *Process) Err() error {
	if p.err == nil {
		return nil
	}
	if text := p.ending.String(); text != "" {
		return fmt.Errorf("%s: %w: %s", p.name, p.err, text)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}

// Ending says in words how the process ended. Call it after Done.
func (p *Process) Ending() string {
	var exit *exec.ExitError
	switch {
	case p.err == nil:
		return "exit status 0"
	case errors.As(p.err, &exit):
		return exit.Error()
	}
	return p.err.Error()
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Stop asks the process to end. If it is still running after grace, Stop kills it and
// everything that it has started. Stop returns when the process has ended.
func (p *Process) Stop(grace time.Duration) { p.end(askToStop, grace) }

// Interrupt is Stop for a program that expects the terminal's Ctrl-C to reach everything
// that it has started, like the go command.
func (p *Process) Interrupt(grace time.Duration) { p.end(interrupt, grace) }

// Kill kills the process and everything that it has started, and returns when it has ended.
func (p *Process) Kill() {
	kill(p.cmd, p.command)
	<-p.done
}

// Suspend stops the process, and everything that it has started, until Resume. It keeps its
// memory and its connections, and does nothing. On Windows it returns an error.
func (p *Process) Suspend() error { return suspend(p.cmd, p.command) }

// Resume lets the process continue after Suspend.
func (p *Process) Resume() error { return resume(p.cmd, p.command) }

// SuspendPID is Suspend for a process that another program has started with this package,
// by its number.
func SuspendPID(pid int) error { return suspendGroup(pid) }

// ResumePID is Resume after SuspendPID.
func ResumePID(pid int) error { return resumeGroup(pid) }

func (p *Process) end(ask func(*exec.Cmd, Command), grace time.Duration) {
	select {
	case <-p.done:
	default:
		ask(p.cmd, p.command)
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	p.Kill() // and everything that it may have left running
}

// tail keeps the end of what is written to it.
type tail struct{ text []byte }

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if extra := len(t.text) - 1<<16; extra > 0 {
		t.text = append(t.text[:0], t.text[extra:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return LastLines(string(t.text), 20) }

// LastLines returns the last n lines of a text.
func LastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// RemoveAll removes a temporary folder. It retries for a moment if a process that was just
// killed has still written into it.
func RemoveAll(dir string) {
	deadline := time.Now().Add(2 * time.Second)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for os.RemoveAll(dir) != nil && time.Now().Before(deadline) {
		<-tick.C
	}
}
