package process

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestErrorHoldsTheEndOfStderr(t *testing.T) {
	out, err := Output(t.Context(), Command{Args: []string{"sh", "-c", "echo printed; echo the reason >&2; exit 3"}})
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.Contains(err.Error(), "the reason") {
		t.Errorf("error: %v, want exit status 3 and the reason", err)
	}
	if out != "printed\n" {
		t.Errorf("output %q", out)
	}
}

// TestRunEndsEverythingThatTheProgramStarted interrupts a shell and the child that it waits for.
func TestRunEndsEverythingThatTheProgramStarted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Command{Args: []string{"sh", "-c", "sleep 600 & echo $!; wait"}, Stdout: writer})
	}()
	child := readNumber(t, reader)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("error: %v", err)
	}
	eventually(t, "the grandchild to end", func() bool { return !alive(child) })
}

// The program prints without end.
func TestASuspendedProcessStopsUntilResume(t *testing.T) {
	reader, writer := io.Pipe()
	p, err := Start(Command{Args: []string{"yes"}, Stdout: writer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	t.Cleanup(func() { reader.Close() })
	if err := p.Suspend(); err != nil {
		t.Fatal(err)
	}
	state := func() string { // T: stopped
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID()))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(stat[bytes.LastIndexByte(stat, ')'):]))[1]
	}
	eventually(t, "the program to stand still", func() bool { return state() == "T" })
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the program to continue", func() bool { return state() != "T" })
	if _, err := reader.Read(make([]byte, 2)); err != nil {
		t.Error(err)
	}
}

// The parent is this test's own program.
func TestChildrenEndWithAKilledParent(t *testing.T) {
	if os.Getenv("PROCESS_TEST_PARENT") != "" { // the parent, to be killed
		for _, outlives := range []bool{true, false} {
			p, err := Start(Command{Args: []string{"sleep", "600"}, Outlives: outlives})
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println(p.PID())
		}
		<-t.Context().Done()
		return
	}
	reader, writer := io.Pipe()
	parent, err := Start(Command{
		Args: []string{os.Args[0], "-test.run=^" + t.Name() + "$"}, Env: append(os.Environ(), "PROCESS_TEST_PARENT=1"), Stdout: writer,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Kill()
	lines := bufio.NewReader(reader)
	outliving, child := readNumber(t, lines), readNumber(t, lines)
	defer func() { _ = syscall.Kill(outliving, syscall.SIGKILL) }()
	if err := syscall.Kill(parent.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the child to end", func() bool { return !alive(child) })
	if !alive(outliving) {
		t.Error("the child that was to outlive its parent has ended")
	}
}

// readNumber reads a line with a process's number.
func readNumber(t *testing.T, from io.Reader) int {
	t.Helper()
	var number int
	if _, err := fmt.Fscanln(from, &number); err != nil {
		t.Fatal(err)
	}
	return number
}

// alive reports whether the process runs. One that has ended may stay for a while,
// until its parent asks for its status.
func alive(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

// eventually waits for a condition, and fails the test when it does not come true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}
