package main

import (
	"context"
	"fmt"
)

func hintVerb() verb {
	var all bool
	v := verb{
		name:    "hint",
		args:    "STAGE EXERCISE",
		summary: "shows the next hint of an exercise",
		about:   "The hints go from a nudge to nearly the code. lab progress counts those that were shown.",
	}
	v.flags.BoolVar(&all, "all", false, "show all of them, also those shown before")
	v.run = func(ctx context.Context, l *lab, args []string) error { return hint(l, args[0], args[1], all) }
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
	shown := done[e.String()].Hints
	from, to := shown, min(shown+1, len(e.Hints))
	if all {
		from, to = 0, len(e.Hints)
	}
	for i := from; i < to; i++ {
		fmt.Fprintf(l.out, "%s\n\n%s\n\n", colour(l.out, "1", fmt.Sprintf("Hint %d of %d", i+1, len(e.Hints))), e.Hints[i])
	}
	if from == to {
		fmt.Fprintf(l.out, "You have seen all %d hints; --all shows them again. A solution: go tool lab solution %s %s\n", len(e.Hints), stage, name)
	}
	return l.note(e, func(p *progress) { p.Hints = max(p.Hints, to) })
}
