package main

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"html"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/exercise"
)

// exercisePage is an exercise and its page.
type exercisePage struct {
	*exercise.Exercise
	page *page
}

// listExercises lists a page for each exercise.
func (b *book) listExercises(context.Context) error {
	for _, s := range b.stages {
		found, err := exercise.List(b.root, s.Name)
		if err != nil {
			return err
		}
		lesson, err := os.ReadFile(filepath.Join(b.root, s.Name, "README.md"))
		if err != nil {
			return err
		}
		place := func(e *exercise.Exercise) int { return bytes.Index(lesson, []byte("exercises/"+e.Name+"/")) }
		slices.SortStableFunc(found, func(a, b *exercise.Exercise) int { return cmp.Compare(place(a), place(b)) })
		for _, e := range found {
			source := path.Join(s.Name, "exercises", e.Name, "README.md")
			p := b.add(&page{
				url: documentURL(source), title: strings.ToUpper(e.Title[:1]) + e.Title[1:], source: source, kind: exercises, stage: s.Name,
				lead: "<code>" + html.EscapeString(e.Name) + "</code> · " + html.EscapeString(e.Level),
			})
			b.exercises = append(b.exercises, exercisePage{e, p})
		}
		b.chain(func(p *page) bool { return p.kind == exercises && p.stage == s.Name })
	}
	return nil
}

// makeExercises fills the pages of the exercises: the task, the hints one by one, and
// the solution.
func (b *book) makeExercises(context.Context) error {
	for _, e := range b.exercises {
		d, err := b.parse(e.page.source)
		if err != nil {
			return err
		}
		body, err := b.render(d)
		if err != nil {
			return err
		}
		_, body, _ = strings.Cut(body, "</p>\n") // the level: it is in the lead
		var w strings.Builder
		w.WriteString(body)
		w.WriteString(`<h2 id="hints"><a class="anchor" href="#hints" aria-label="Link to: Hints"></a>Hints</h2>` + "\n<div class=\"hints\">\n")
		for i, hint := range e.Hints {
			h := b.parseText(path.Join(path.Dir(e.page.source), "hints.md"), hint)
			h.prefix = fmt.Sprintf("hint-%d-", i+1)
			text, err := b.render(h)
			if err != nil {
				return err
			}
			fmt.Fprintf(&w, "<details class=\"hint\"><summary>Hint %d of %d</summary>\n%s</details>\n", i+1, len(e.Hints), text)
		}
		w.WriteString("</div>\n")
		solution, err := os.ReadFile(e.Solution())
		if err != nil {
			return err
		}
		patch, err := b.highlighted("solution.patch", strings.TrimRight(string(solution), "\n"))
		if err != nil {
			return err
		}
		w.WriteString(`<h2 id="solution"><a class="anchor" href="#solution" aria-label="Link to: A solution"></a>A solution</h2>` + "\n")
		w.WriteString("<details class=\"solution\"><summary>Show one solution</summary>\n" + figure("code patch", "", "solution.patch", patch) + "</details>\n")
		e.page.html = w.String()
		e.page.outline = append(d.outline, heading{2, "hints", "Hints"}, heading{2, "solution", "A solution"})
		e.page.beside = []link{{"book:" + e.page.stage + "/index.html", "the chapter"}}
		for _, file := range []string{"exercise_test.go", "cluster_test.go"} {
			if url := b.urlOf(path.Join(path.Dir(e.page.source), file), ""); url != "" {
				e.page.beside = append(e.page.beside, link{"book:" + url, "its tests"})
				break
			}
		}
	}
	return nil
}
