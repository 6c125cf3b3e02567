package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/process"
)

func pauseVerb() verb {
	return verb{
		name:    "pause",
		args:    "SERVICE",
		summary: "freezes a service of lab run, until lab resume",
		about: `SERVICE is platformservice or commandsservice, as in the output of lab run; in final, which
runs as one process, microcomm. The service keeps its memory and its connections, and
responds to nothing. The command returns as soon as it is paused. On Windows it needs WSL.`,
		run: pause,
	}
}

func resumeVerb() verb {
	return verb{
		name:    "resume",
		args:    "SERVICE",
		summary: "lets a service continue after lab pause",
		run: func(_ context.Context, l *lab, args []string) error {
			s, err := findRunning(l.root, args[0])
			if err != nil {
				return err
			}
			if err := process.ResumePID(s.pid); err != nil {
				return fmt.Errorf("resume %s: %w", s.binary, err)
			}
			fmt.Fprintf(l.out, "%s continues\n", s.binary)
			return nil
		},
	}
}

// pauseTimeout bounds the time until a paused service stops responding.
const pauseTimeout = 10 * time.Second

func pause(ctx context.Context, l *lab, args []string) error {
	s, err := findRunning(l.root, args[0])
	if err != nil {
		return err
	}
	err = process.SuspendPID(s.pid)
	if errors.Is(err, errors.ErrUnsupported) {
		return errors.New("this system cannot pause a process; on Windows, use WSL")
	}
	if err != nil {
		return fmt.Errorf("pause %s: %w", s.binary, err)
	}
	// The signal is on its way: a service that still responds is not paused yet.
	ctx, cancel := context.WithTimeout(ctx, pauseTimeout)
	defer cancel()
	for responds(ctx, s) {
	}
	if ctx.Err() != nil {
		return fmt.Errorf("pause %s: it still responds: %w", s.binary, ctx.Err())
	}
	fmt.Fprintf(l.out, "%s is paused; go tool lab resume %s lets it continue\n", s.binary, s.binary)
	return nil
}

// responds reports whether a service responds at all, soon.
func responds(ctx context.Context, s running) bool {
	ctx, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	_, _, err := request(ctx, s.address, "GET", s.path, "")
	return err == nil
}

// running is a service that lab run has started.
type running struct {
	binary  string
	pid     int
	address string
	path    string // returns 200 while the service is up
}

// runDir is the pattern of the folders that lab run creates for a checkout.
func runDir(root string) string {
	hash := fnv.New32a()
	hash.Write([]byte(root))
	return fmt.Sprintf("microcomm-run-%08x-*", hash.Sum32())
}

// servicesFile is where lab run lists its services, in its own folder: both are removed
// together.
const servicesFile = "services"

// note records the running services, for lab pause and lab resume.
func (f *fleet) note() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var text strings.Builder
	for _, s := range f.services {
		if s.binary != "" {
			fmt.Fprintln(&text, s.binary, s.process.PID(), s.http.address(), s.paths[0])
		}
	}
	return os.WriteFile(filepath.Join(f.dir, servicesFile), []byte(text.String()), 0o600)
}

// findRunning returns the service of this name that a lab run of the checkout has
// started, the newest one if there are several.
func findRunning(root, name string) (running, error) {
	files, err := filepath.Glob(filepath.Join(os.TempDir(), runDir(root), servicesFile))
	if err != nil {
		return running{}, err
	}
	var found running
	var newest time.Time
	var names []string
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			continue // that lab run has just ended
		}
		for _, s := range readRunning(file) {
			names = append(names, s.binary)
			if strings.EqualFold(s.binary, name) && info.ModTime().After(newest) {
				found, newest = s, info.ModTime()
			}
		}
	}
	if found.pid != 0 {
		return found, nil
	}
	if len(names) == 0 {
		return running{}, errors.New("no lab run of this checkout is up: start one in another terminal, go tool lab run 06")
	}
	slices.Sort(names)
	return running{}, usageError(fmt.Sprintf("unknown service %s; the running ones are %s", name, strings.Join(slices.Compact(names), ", ")))
}

func readRunning(file string) []running {
	f, err := os.Open(file)
	if err != nil {
		return nil // that lab run has just ended
	}
	defer f.Close()
	var services []running
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var s running
		if _, err := fmt.Sscan(lines.Text(), &s.binary, &s.pid, &s.address, &s.path); err == nil {
			services = append(services, s)
		}
	}
	return services
}
