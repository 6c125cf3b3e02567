package main

import (
	"context"

	"microcomm/docs/internal/exercise"
)

func verifyVerb() verb {
	return verb{
		name:    "verify",
		args:    "WHAT [STAGE] [EXERCISE]",
		summary: "proves what the workbook says",
		about: `verify exercises [STAGE [EXERCISE]] proves of each exercise, in a copy of the checkout:
its tests compile with the chapter as it is, and each fails by itself; with solution.patch
they pass, with the race detector and vet, and so do the tests of every package that the
solution can affect, and e2e; each mutant is rejected by the test in its name.`,
		run: func(ctx context.Context, l *lab, args []string) error {
			if args[0] != "exercises" {
				return usageError("verify what? see: go tool lab help verify")
			}
			return verifyExercises(ctx, l, args[1:])
		},
	}
}

// verifyExercises verifies all exercises, those of a stage, or one.
func verifyExercises(ctx context.Context, l *lab, args []string) error {
	var chosen []*exercise.Exercise
	switch len(args) {
	case 0:
		for _, s := range l.stages {
			of, err := exercise.List(l.root, s.name)
			if err != nil {
				return err
			}
			chosen = append(chosen, of...)
		}
	case 1:
		s, err := l.findStage(args[0])
		if err != nil {
			return err
		}
		if chosen, err = exercise.List(l.root, l.stages[s].name); err != nil {
			return err
		}
	default:
		e, err := l.findExercise(args[0], args[1])
		if err != nil {
			return err
		}
		chosen = append(chosen, e)
	}
	if len(chosen) == 0 {
		return usageError("there are no exercises")
	}
	if err := needCompiler(ctx); err != nil {
		return err
	}
	env, stop, err := l.exerciseEnv(ctx, chosen)
	if err != nil {
		return err
	}
	defer stop()
	return exercise.Verify(ctx, l.root, chosen, env, l.out)
}
