package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// The console may ask for a second start while the first one still runs.
func TestTwoServicesAreStartedAtOnce(t *testing.T) {
	program, err := exec.LookPath("true")
	if err != nil {
		t.Skip("there is no program true: ", err)
	}
	dir := t.TempDir()
	f := &fleet{lab: &lab{out: &bytes.Buffer{}}, dir: dir, died: make(chan *service), leaving: make(chan struct{})}
	f.stage.Dir = dir
	for _, name := range []string{"a", "b"} {
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		f.services = append(f.services, &service{title: name, binary: name, paths: []string{"/"}})
		if err := f.start(t.Context(), f.services[len(f.services)-1]); err != nil {
			t.Fatal(err)
		}
	}
	defer f.stop()
	var starting sync.WaitGroup
	for _, s := range f.services {
		starting.Go(func() {
			if err := f.start(t.Context(), s); err != nil {
				t.Error(err)
			}
			if err := f.note(); err != nil {
				t.Error(err)
			}
		})
	}
	starting.Wait()
	text, err := os.ReadFile(filepath.Join(dir, servicesFile))
	if err != nil || strings.Count(string(text), "\n") != 2 {
		t.Errorf("noted (error: %v):\n%s", err, text)
	}
}
