package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
)

// process is a child that the tool owns: it has a process group of its own, so
// that the terminal's Ctrl-C reaches it only through us.
type process struct {
	name string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended and its output is written
	err  error         // how it ended; read it after done
}

// startProcess starts cmd; what it prints goes to out.
func startProcess(name string, cmd *exec.Cmd, out io.Writer) (*process, error) {
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Second // a grandchild that holds the pipe must not hold us
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// stop asks the process to end, and kills its group when it has not done so
// after grace. It returns when the process is gone.
func (p *process) stop(grace time.Duration) { p.end(askToStop, grace) }

// interrupt is stop for a program that expects the terminal's Ctrl-C to reach
// all it has started, as the go command does.
func (p *process) interrupt(grace time.Duration) { p.end(interruptGroup, grace) }

func (p *process) end(ask func(*exec.Cmd), grace time.Duration) {
	select {
	case <-p.done:
	default:
		ask(p.cmd)
		select {
		case <-p.done:
		case <-time.After(grace):
		}
	}
	killGroup(p.cmd) // also what it may have left behind
	<-p.done
}

// ending says how the process ended, in words.
func (p *process) ending() string {
	var exit *exec.ExitError
	if p.err == nil {
		return "exit status 0"
	}
	if errors.As(p.err, &exit) {
		return exit.Error()
	}
	return p.err.Error()
}

// lineWriter writes whole lines to out, each after a prefix. Writers that share
// a lock do not break into each other's lines.
type lineWriter struct {
	prefix string
	out    io.Writer
	lock   *sync.Mutex
	rest   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.lock.Lock()
	defer w.lock.Unlock()
	w.rest = append(w.rest, p...)
	for {
		end := bytes.IndexByte(w.rest, '\n')
		if end < 0 {
			return len(p), nil
		}
		if _, err := fmt.Fprintf(w.out, "%s%s\n", w.prefix, bytes.TrimRight(w.rest[:end], "\r")); err != nil {
			return 0, err
		}
		w.rest = w.rest[end+1:]
	}
}

// isTerminal tells if w is a terminal, and so whether colours and a pager help.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// colour wraps text in an ANSI colour where it can be seen.
func colour(w io.Writer, code, text string) string {
	if os.Getenv("NO_COLOR") != "" || !isTerminal(w) {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}
