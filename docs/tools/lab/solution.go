package main

import (
	"context"
	"os"
)

func solutionVerb() verb {
	var apply bool
	v := verb{
		name:    "solution",
		args:    "STAGE EXERCISE",
		summary: "shows a solution of an exercise, or applies it",
		about: `Shows it as a diff of the original stage. With --apply the stage is first reset,
as by lab reset, which saves your work on a branch, and then changed by the solution. The
check of a solution that was applied does not make the exercise passed.`,
	}
	v.flags.BoolVar(&apply, "apply", false, "save your work, and replace it by the solution")
	v.run = func(ctx context.Context, l *lab, args []string) error {
		return solution(ctx, l, args[0], args[1], apply)
	}
	return v
}

func solution(ctx context.Context, l *lab, stage, name string, apply bool) error {
	e, err := l.findExercise(stage, name)
	if err != nil {
		return err
	}
	patch, err := os.ReadFile(e.Solution())
	if err != nil {
		return err
	}
	if err := l.note(e, func(p *progress) { p.SolutionSeen = true }); err != nil {
		return err
	}
	if !apply {
		return page(ctx, l, patch)
	}
	at, err := l.findStage(stage)
	if err != nil {
		return err
	}
	if err := reset(ctx, l, l.stages[at], "", e); err != nil {
		return err
	}
	return l.note(e, func(p *progress) { p.Applied = true })
}
