package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"microcomm/docs/tools/internal/cli"
)

// report prints the findings as they arrive, and counts them.
type report struct {
	mutex   sync.Mutex
	out     io.Writer
	passed  int
	failed  int
	skipped int
	reasons map[string]int // of what was skipped
}

// results are the findings about one file. They are printed together.
type results struct {
	name    string
	passed  int
	failed  []string
	skipped []string // why
}

// check counts one thing; at is file:line or another place, or empty.
func (r *results) check(at string, err error) {
	if err == nil {
		r.passed++
		return
	}
	if at != "" {
		at += ": "
	}
	r.failed = append(r.failed, at+err.Error())
}

func (r *results) skip(why string) { r.skipped = append(r.skipped, why) }

// note prints a line that is not a finding.
func (r *report) note(line string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	fmt.Fprintln(r.out, "      ", line)
}

// add prints and counts the results about one file.
func (r *report) add(found results) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	state := "ok  "
	if len(found.failed) > 0 {
		state = "FAIL"
	}
	fmt.Fprintf(r.out, "  %s %s (%d)\n", state, found.name, found.passed+len(found.failed))
	for _, failure := range found.failed {
		for line := range strings.Lines(failure) {
			fmt.Fprintf(r.out, "       %s\n", strings.TrimRight(line, "\n"))
		}
	}
	r.passed += found.passed
	r.failed += len(found.failed)
	r.skipped += len(found.skipped)
	for _, why := range found.skipped {
		if r.reasons == nil {
			r.reasons = map[string]int{}
		}
		r.reasons[why]++
	}
}

// summary prints what was not verified, and the counts.
func (r *report) summary() error {
	fmt.Fprintln(r.out)
	for _, why := range slices.Sorted(maps.Keys(r.reasons)) {
		fmt.Fprintf(r.out, "Skipped, %d: %s\n", r.reasons[why], why)
	}
	fmt.Fprintf(r.out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	if r.failed > 0 {
		return cli.ErrReported
	}
	if r.passed == 0 {
		return fmt.Errorf("nothing was verified")
	}
	return nil
}
