//go:build linux

package main

import (
	"bytes"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPrivateNodeLeavesNothing starts a real node and looks for its processes
// by the folder that they all have in their environment.
func TestPrivateNodeLeavesNothing(t *testing.T) {
	server := findRabbitMQ()
	if server == "" {
		t.Skip("no rabbitmq-server on this machine")
	}
	t.Setenv("TMPDIR", t.TempDir())
	var progress bytes.Buffer
	b, err := privateNode(t.Context(), server, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	stopped := false
	defer func() {
		if !stopped {
			b.stop()
		}
	}()
	u, err := url.Parse(b.url)
	if err != nil {
		t.Fatal(err)
	}
	if u.Hostname() != "127.0.0.1" {
		t.Errorf("it listens at %s", u.Host)
	}
	if err := greetAMQP(t.Context(), u.Host); err != nil {
		t.Error(err)
	}
	mark := "TMPDIR=" + os.Getenv("TMPDIR")
	running := processesWith(t, mark)
	for _, want := range []string{"beam.smp", "epmd"} {
		if !strings.Contains(strings.Join(running, " "), want) {
			t.Errorf("%s is not among its processes %v: this test would see nothing", want, running)
		}
	}
	b.stop()
	stopped = true
	if err := greetAMQP(t.Context(), u.Host); err == nil {
		t.Error("it still answers")
	}
	waitFor(t, "its processes to be gone", func() bool { return len(processesWith(t, mark)) == 0 })
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v (error: %v)", left, err)
	}
}

// processesWith gives the programs that run with that setting in their
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
