package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"microcomm/docs/tools/internal/process"
)

// TestMain lets a test run its own program as lab: see startLab.
func TestMain(m *testing.M) {
	if args := os.Getenv("LAB_TEST_ARGS"); args != "" {
		os.Exit(mainStatus(strings.Fields(args), os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// startLab starts lab as a process. What it prints can be read from the pipe.
func startLab(t *testing.T, l *lab, args string, env ...string) (*process.Process, *os.File) {
	t.Helper()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := process.Start(process.Command{
		Args: []string{os.Args[0]}, Dir: l.root, Env: append(os.Environ(), append(env, "LAB_TEST_ARGS="+args)...),
		Stdout: writer, Stderr: writer,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); reader.Close() })
	writer.Close()
	return p, reader
}

// readUntil reads up to a line that holds the text.
func readUntil(t *testing.T, lines *bufio.Reader, text string) string {
	t.Helper()
	var read strings.Builder
	for {
		line, err := lines.ReadString('\n')
		read.WriteString(line)
		if strings.Contains(line, text) {
			return read.String()
		}
		if err != nil {
			t.Fatalf("it does not say %q: %v\n%s", text, err, read.String())
		}
	}
}

// TestClosedOutputEndsARun is lab run 01 | head.
func TestClosedOutputEndsARun(t *testing.T) {
	l := miniStage(t)
	address := someFreeAddress()
	t.Setenv("PLATFORMS_HTTP_ADDR", address)
	p, out := startLab(t, l, "run 01")
	readUntil(t, bufio.NewReader(out), "hello from the service")
	out.Close()
	<-p.Done()
	if err := portFree(t.Context(), address); err != nil {
		t.Errorf("the service is left: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "microcomm-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v (error: %v)", left, err)
	}
}

// TestInterrupts is Ctrl-C while a service does not stop. A terminal's sends two
// signals, of which one is passed on by go tool.
func TestInterrupts(t *testing.T) {
	for name, test := range map[string]struct {
		again bool // Ctrl-C is pressed until lab ends
		want  string
	}{
		"two at once are one":      {false, "exit status 0"},
		"a later one ends at once": {true, "signal: interrupt"},
	} {
		t.Run(name, func(t *testing.T) {
			l := miniStage(t)
			t.Setenv("PLATFORMS_HTTP_ADDR", someFreeAddress())
			p, out := startLab(t, l, "run 01", "STUBBORN=1")
			lines := bufio.NewReader(out)
			readUntil(t, lines, "is up")
			interrupt := func() {
				if err := syscall.Kill(p.PID(), syscall.SIGINT); err != nil {
					t.Fatal(err)
				}
			}
			if test.again { // lab cannot say that it is stopping, and so does not end by itself before
				fill(t, out)
			}
			interrupt()
			interrupt() // a moment later, as from a terminal
			if !test.again {
				readUntil(t, lines, "stopping")
			}
			tick := time.NewTicker(100 * time.Millisecond)
			defer tick.Stop()
			for test.again {
				select {
				case <-tick.C:
					interrupt()
					continue
				case <-p.Done():
				}
				break
			}
			rest, _ := io.ReadAll(lines)
			<-p.Done()
			if p.Ending() != test.want {
				t.Errorf("it ended with %s, want %s:\n%s", p.Ending(), test.want, rest)
			}
			left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "microcomm-*"))
			if err != nil || len(left) > 0 && !test.again {
				t.Errorf("files are left: %v (error: %v)", left, err)
			}
		})
	}
}

// fill writes into the pipe that out reads from, until it takes no more.
func fill(t *testing.T, out *os.File) {
	t.Helper()
	pipe, err := syscall.Open(fmt.Sprintf("/proc/self/fd/%d", out.Fd()), syscall.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pipe)
	for _, size := range []int{4096, 1} {
		for err = nil; err == nil; {
			_, err = syscall.Write(pipe, make([]byte, size))
		}
		if err != syscall.EAGAIN {
			t.Fatal(err)
		}
	}
}

func TestEmptyBrokerURLCountsAsUnset(t *testing.T) {
	l := miniStage(t)
	t.Setenv("PLATFORMS_HTTP_ADDR", someFreeAddress())
	_, out := startLab(t, l, "run 01", "RABBITMQ_URL=")
	if said := readUntil(t, bufio.NewReader(out), "RABBITMQ_URL is set: "); !strings.Contains(said, "set: false") {
		t.Errorf("the service sees it: %s", said)
	}
}

// TestCtrlCIsHowAServerEnds is that of lab class and lab book --serve. What had more to do
// was interrupted.
func TestCtrlCIsHowAServerEnds(t *testing.T) {
	l := workspace(t, map[string]string{"docs/tools/server/main.go": `package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	fmt.Println("serving")
	<-ended
	os.Exit(len(os.Args) - 1)
}
`})
	for name, test := range map[string]struct {
		args   []string
		status int
	}{"a server": {nil, 0}, "half-done work": {[]string{"unfinished"}, 130}} {
		t.Run(name, func(t *testing.T) {
			out := &syncBuffer{}
			l.out, l.err = out, out
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			ended := make(chan error, 1)
			go func() { ended <- runProgram(ctx, l, "docs", "tools/server", test.args) }()
			waitFor(t, "the server", func() bool { return strings.Contains(out.String(), "serving") })
			cancel()
			if got := status(ctx, <-ended, out); got != test.status {
				t.Errorf("status %d, want %d:\n%s", got, test.status, out)
			}
			if _, more, _ := strings.Cut(out.String(), "serving\n"); test.status == 0 && more != "" {
				t.Errorf("it says more: %s", more)
			}
		})
	}
}
