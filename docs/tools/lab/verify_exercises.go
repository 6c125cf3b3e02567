package main

import (
	"context"

	"microcomm/docs/tools/internal/exercise"
)

// verifyExercises verifies all exercises, those of a stage, or one.
func verifyExercises(ctx context.Context, l *lab, args []string) error {
	var chosen []*exercise.Exercise
	switch len(args) {
	case 0:
		for _, s := range l.stages {
			of, err := exercise.List(l.root, s.Name)
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
		if chosen, err = exercise.List(l.root, l.stages[s].Name); err != nil {
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
