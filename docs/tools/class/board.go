package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"microcomm/docs/tools/internal/class"
	"microcomm/docs/tools/internal/exercise"
)

// What a board holds at most. A room is smaller.
const (
	maxPeople = 300
	maxFrom   = 100 // people of one address: a room may share one, but not fill the board by a script
	maxName   = 60  // code points
)

// errFull and errCrowd are reports of one person too many.
var (
	errFull  = fmt.Errorf("the board has %d people, and no room for more", maxPeople)
	errCrowd = fmt.Errorf("%d people have reported from this address, and the board accepts no more from it", maxFrom)
)

// entry is the newest report of a person about an exercise.
type entry struct {
	class.Report
	Time time.Time `json:"time"`
}

// board is what a class has reported.
type board struct {
	file  string
	tests map[string][]string // of each exercise, in order, by its name with its stage's
	texts map[stop]string     // what a test holds
	now   func() time.Time

	mu      sync.Mutex
	entries []entry        // one for each person and exercise; the newest last
	from    map[string]int // people that are new since the start, by the address of their first report
}

// openBoard is the board that file holds, from an earlier session, or an empty one.
func openBoard(file string, exercises []*exercise.Exercise) (*board, error) {
	b := &board{file: file, tests: map[string][]string{}, texts: map[stop]string{}, now: time.Now, from: map[string]int{}}
	for _, e := range exercises {
		b.tests[e.Stage+" "+e.Name] = slices.Concat(e.Tests, e.ClusterTests)
		for _, item := range e.Items {
			text, _, _ := strings.Cut(item.Text, "`Test")
			for _, test := range item.Tests {
				b.texts[stop{Stage: e.Stage, Exercise: e.Name, Test: test}] = strings.ReplaceAll(strings.TrimRight(text, " :(;,"), "`", "")
			}
		}
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &b.entries); err != nil {
		return nil, fmt.Errorf("read %s: %w; move the file elsewhere to start again", file, err)
	}
	return b, nil
}

// add keeps a report from an address. The error says what is wrong with it, or that it
// could not be kept.
func (b *board) add(r class.Report, from string) error {
	r, err := b.valid(r)
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	people := map[string]bool{}
	for _, e := range b.entries {
		people[e.Name] = true
	}
	known := people[r.Name]
	switch {
	case !known && len(people) >= maxPeople:
		return errFull
	case !known && b.from[from] >= maxFrom:
		return errCrowd
	}
	entries := slices.DeleteFunc(slices.Clone(b.entries), func(e entry) bool {
		return e.Name == r.Name && e.Stage == r.Stage && e.Exercise == r.Exercise
	})
	entries = append(entries, entry{r, b.now().UTC()})
	if err := save(b.file, entries); err != nil {
		return fmt.Errorf("keep the report: %w", err)
	}
	b.entries = entries
	if !known {
		b.from[from]++
	}
	return nil
}

// invalid is a fault of a report.
type invalid string

func (i invalid) Error() string { return string(i) }

// valid is the report with only what the board knows in it.
func (b *board) valid(r class.Report) (class.Report, error) {
	r.Name = strings.TrimSpace(r.Name)
	switch {
	case r.Name == "" || utf8.RuneCountInString(r.Name) > maxName:
		return r, invalid(fmt.Sprintf("name: must have 1 to %d characters", maxName))
	case strings.ContainsFunc(r.Name, func(c rune) bool { return !unicode.IsPrint(c) }):
		return r, invalid("name: must not contain control characters")
	}
	tests, known := b.tests[r.Stage+" "+r.Exercise]
	if !known {
		return r, invalid("exercise: the board knows no such exercise of this stage")
	}
	if r.Held < 0 || r.Total < r.Held || r.Total > 1000 {
		return r, invalid("held, total: must be how many items hold, and of how many")
	}
	r.Failed = slices.DeleteFunc(slices.Clone(tests), func(name string) bool { return !slices.Contains(r.Failed, name) })
	return r, nil
}

// save writes the entries so that a crash leaves the old file or the new one.
func save(file string, entries []entry) error {
	content, err := json.MarshalIndent(entries, "", " ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// person is someone's newest result, and what they have passed.
type person struct {
	entry
	Passed int // exercises
}

// NothingRan says that no test was run: the code does not compile, say.
func (p person) NothingRan() bool { return !p.Report.Passed && p.Held == 0 && len(p.Failed) == 0 }

// stop is a test that fails for some people in their newest result of its exercise.
type stop struct {
	Stage, Exercise, Test string
	Text                  string // what the test holds
	People                int
}

// summary is all people, by name, and the tests that stop people, that of most people
// first.
func (b *board) summary() (people []person, stops []stop) {
	b.mu.Lock()
	defer b.mu.Unlock()
	passed := map[string]int{}
	at := map[stop]int{}
	for _, e := range b.entries {
		if e.Passed {
			passed[e.Name]++
			continue
		}
		for _, test := range e.Failed {
			at[stop{Stage: e.Stage, Exercise: e.Exercise, Test: test}]++
		}
	}
	shown := map[string]bool{}
	for _, e := range slices.Backward(b.entries) {
		if !shown[e.Name] {
			shown[e.Name] = true
			people = append(people, person{e, passed[e.Name]})
		}
	}
	slices.SortFunc(people, func(a, b person) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	for s, n := range at {
		s.Text, s.People = b.texts[s], n
		stops = append(stops, s)
	}
	slices.SortFunc(stops, func(a, b stop) int {
		return cmp.Or(cmp.Compare(b.People, a.People), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Exercise, b.Exercise), cmp.Compare(a.Test, b.Test))
	})
	return people, stops
}
