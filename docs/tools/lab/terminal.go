package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"sync"
)

// lineWriter writes whole lines to out, each after a prefix. Writers that share a lock
// do not mix their lines.
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

// watchPipe returns a writer to file that calls broken when the reader has ended. A
// terminal needs none: when it closes, there is a SIGHUP.
func watchPipe(file *os.File, broken func()) io.Writer {
	if isTerminal(file) {
		return file
	}
	return &watchedPipe{file, broken}
}

type watchedPipe struct {
	out    io.Writer
	broken func()
}

func (w *watchedPipe) Write(p []byte) (int, error) {
	n, err := w.out.Write(p)
	if err != nil {
		w.broken()
	}
	return n, err
}

// isTerminal reports whether w is a terminal, and so whether colours and a pager help.
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
	if !coloured(w) {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// coloured reports whether w shows colours, and the user wants them.
func coloured(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}
