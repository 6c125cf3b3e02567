package main

import (
	"context"
	"fmt"
	"strings"

	"microcomm/docs/tools/internal/layout"
)

func hintVerb() verb {
	var all bool
	v := verb{
		name:    "hint",
		args:    "STAGE [EXERCISE]",
		summary: "shows the next hint of an exercise",
		about: `The hints go from a nudge to nearly the code. lab progress counts those that were shown
before you passed; after that, all are shown. With a STAGE alone: its exercises.`,
	}
	v.flags.BoolVar(&all, "all", false, "show all hints, including those shown before")
	v.run = func(ctx context.Context, l *lab, args []string) error {
		if len(args) == 1 {
			at, err := l.findStage(args[0])
			if err != nil {
				return err
			}
			return l.showProgress(l.stages[at:at+1], false)
		}
		return hint(l, args[0], args[1], all)
	}
	return v
}

func hint(l *lab, stage, name string, all bool) error {
	e, err := l.findExercise(stage, name)
	if err != nil {
		return err
	}
	done, err := l.readProgress()
	if err != nil {
		return err
	}
	p := done[e.String()]
	from, to := p.Hints, min(p.Hints+1, len(e.Hints))
	if all || p.PassedAt != nil {
		from, to = 0, len(e.Hints)
	}
	for i := from; i < to; i++ {
		fmt.Fprintf(l.out, "%s\n\n%s\n\n", colour(l.out, "1", fmt.Sprintf("Hint %d of %d", i+1, len(e.Hints))), layout.Reflow(indentCode(e.Hints[i])))
	}
	if from == to {
		fmt.Fprintf(l.out, "You have seen all %d hints; --all shows them again. A solution: go tool lab solution %s %s\n", len(e.Hints), stage, name)
	}
	return l.note(e, func(p *progress) {
		p.TriedAt = now()
		if p.PassedAt == nil {
			p.Hints = max(p.Hints, to)
		}
	})
}

// indentCode indents the code blocks of Markdown, in place of their fences.
func indentCode(text string) string {
	var lines []string
	code := false
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			code = !code
			continue
		case code && line != "":
			line = "    " + line
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
