package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/exercise"
	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/repo"
)

func progressVerb() verb {
	var asJSON bool
	v := verb{
		name:    "progress",
		args:    "[STAGE]",
		summary: "lists the exercises, and how far you are",
		about: `lab keeps your progress in .lab/progress.json at the checkout's top, which git ignores. With --json it
prints a list of every exercise: stage, name, title, level, state (not begun, tried,
solution applied or passed), checks, hints, solution_seen, solution_applied, tried_at,
passed_at.`,
	}
	v.flags.BoolVar(&asJSON, "json", false, "print it as JSON, for an instructor")
	v.run = func(ctx context.Context, l *lab, args []string) error {
		stages := l.stages
		if len(args) > 0 {
			at, err := l.findStage(args[0])
			if err != nil {
				return err
			}
			stages = stages[at : at+1]
		}
		return l.showProgress(stages, asJSON)
	}
	return v
}

// progress is how far the learner has got with an exercise.
type progress struct {
	Checks       int        `json:"checks"` // how often it was checked
	Hints        int        `json:"hints"`  // how many have been shown
	SolutionSeen bool       `json:"solution_seen"`
	Applied      bool       `json:"solution_applied"`    // by lab solution --apply
	TriedAt      *time.Time `json:"tried_at,omitempty"`  // the last check or hint
	PassedAt     *time.Time `json:"passed_at,omitempty"` // the first time
}

func (p progress) state() string {
	switch {
	case p.PassedAt != nil:
		return "passed"
	case p.Applied:
		return "solution applied"
	case p.Checks > 0:
		return "tried"
	}
	return "not begun"
}

func (l *lab) progressFile() string { return filepath.Join(l.root, ".lab", "progress.json") }

// readProgress returns the progress by exercise, "06-rabbitmq durable-queue".
func (l *lab) readProgress() (map[string]progress, error) {
	found := map[string]progress{}
	content, err := os.ReadFile(l.progressFile())
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(content, &found); err != nil {
		return nil, fmt.Errorf("read %s: %w (delete it to start again)", l.progressFile(), err)
	}
	return found, nil
}

// note changes the progress of an exercise.
func (l *lab) note(e *exercise.Exercise, change func(*progress)) error {
	all, err := l.readProgress()
	if err != nil {
		return err
	}
	p := all[e.String()]
	change(&p)
	all[e.String()] = p
	content, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(l.progressFile()), 0o755); err != nil {
		return err
	}
	// Renamed into place: a Ctrl-C leaves the old file or the new one.
	temporary := l.progressFile() + ".new"
	if err := os.WriteFile(temporary, append(content, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(temporary, l.progressFile())
}

// showProgress prints the exercises of the stages.
func (l *lab) showProgress(stages []repo.Stage, asJSON bool) error {
	all, err := l.readProgress()
	if err != nil {
		return err
	}
	type line struct {
		Stage string `json:"stage"`
		Name  string `json:"name"`
		Title string `json:"title"`
		Level string `json:"level"`
		State string `json:"state"`
		progress
		hints int
	}
	lines := []line{} // not null in JSON
	passed := 0
	for _, s := range stages {
		exercises, err := exercise.List(l.root, s.Name)
		if err != nil {
			return err
		}
		for _, e := range exercises {
			p := all[e.String()]
			if p.PassedAt != nil {
				passed++
			}
			lines = append(lines, line{e.Stage, e.Name, e.Title, e.Level, p.state(), p, len(e.Hints)})
		}
	}
	if asJSON {
		encoder := json.NewEncoder(l.out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(lines)
	}
	if len(lines) == 0 {
		fmt.Fprintln(l.out, "There are no exercises here.")
		return nil
	}
	stage := ""
	for _, x := range lines {
		if x.Stage != stage {
			stage = x.Stage
			fmt.Fprintln(l.out, colour(l.out, "1", stage))
		}
		fmt.Fprintf(l.out, "  %-20s %-16s  %d of %d hints  %s\n", x.Name, x.State, x.Hints, x.hints, x.Level)
		fmt.Fprintln(l.out, layout.Wrap("      "+x.Title, "      "))
	}
	fmt.Fprintf(l.out, "\n%d of %d passed. Check one: go tool lab check STAGE EXERCISE\n", passed, len(lines))
	return nil
}

// lastTried returns the exercise of a stage that was last checked or hinted at, or "".
func (l *lab) lastTried(s repo.Stage) (string, error) {
	all, err := l.readProgress()
	if err != nil {
		return "", err
	}
	last, at := "", time.Time{}
	for key, p := range all {
		name, ofStage := strings.CutPrefix(key, s.Name+" ")
		if ofStage && p.TriedAt != nil && p.TriedAt.After(at) {
			last, at = name, *p.TriedAt
		}
	}
	return last, nil
}

// now is the time in the form that progress keeps.
func now() *time.Time {
	t := time.Now().UTC()
	return &t
}
