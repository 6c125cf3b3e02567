package rabbitmq

import (
	"bytes"
	"context"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPrivateNodeLeavesNothing starts a real node and looks for its processes
// by the folder that they all have in their environment.
func TestPrivateNodeLeavesNothing(t *testing.T) {
	if Find() == "" {
		t.Skip("no rabbitmq-server on this machine")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var progress bytes.Buffer
	n, err := startNode(t.Context(), Find(), Ports{}, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	stopped := false
	defer func() {
		if !stopped {
			n.Stop()
		}
	}()
	u, err := url.Parse(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	if u.Hostname() != "127.0.0.1" {
		t.Errorf("it listens at %s", u.Host)
	}
	eventually(t, "it to respond", func() bool { return greet(t.Context(), u.Host) == nil })
	mark := "TMPDIR=" + os.Getenv("TMPDIR")
	running := processesWith(t, mark)
	for _, want := range []string{"beam.smp", "epmd"} {
		if !strings.Contains(strings.Join(running, " "), want) {
			t.Errorf("%s is not among its processes %v: this test would see nothing", want, running)
		}
	}
	n.Stop()
	stopped = true
	if err := greet(t.Context(), u.Host); err == nil {
		t.Error("it still responds")
	}
	eventually(t, "its processes to be gone", func() bool { return len(processesWith(t, mark)) == 0 })
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v (error: %v)", left, err)
	}
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

// processesWith returns the programs that run with that setting in their
// environment, but for this test.
func processesWith(t *testing.T, setting string) []string {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range environments {
		content, err := os.ReadFile(file)
		if err != nil { // it has ended, or is not ours
			continue
		}
		if !bytes.Contains(append([]byte{0}, content...), []byte("\x00"+setting+"\x00")) {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(file), "comm"))
		if err == nil {
			found = append(found, strings.TrimSpace(string(name)))
		}
	}
	return found
}
