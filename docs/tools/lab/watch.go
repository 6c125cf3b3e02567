package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/exercise"
)

func watchVerb() verb {
	return verb{
		name:    "watch",
		args:    "STAGE [EXERCISE]",
		summary: "checks an exercise, or tests a stage, whenever you save a file of the stage",
		about:   "A broker, where one is needed, is started once. Ctrl-C ends it.",
		run: func(ctx context.Context, l *lab, args []string) error {
			return unlessStopped(ctx, l, watch(ctx, l, args))
		},
	}
}

func watch(ctx context.Context, l *lab, args []string) error {
	at, err := l.findStage(args[0])
	if err != nil {
		return err
	}
	if err := cmp.Or(needCompiler(ctx), needClone(ctx, l.root)); err != nil {
		return err
	}
	s := l.stages[at]
	if len(args) == 1 {
		t := &tester{lab: l}
		defer t.close()
		env, err := t.env(ctx, s)
		if err != nil {
			return err
		}
		l.announce(ctx, s.Dir, true, "./...")
		return whenSaved(ctx, l, s.Dir, func() error {
			results := newTestResults(l.out, s.Module(), false)
			err := t.goTest(ctx, s, env, results, "", "./...")
			count := results.total
			fmt.Fprintf(l.out, "\n%d passed, %d failed, %d skipped\n", count.passed, count.failed, count.skipped)
			return err
		})
	}
	e, err := l.findExercise(args[0], args[1])
	if err != nil {
		return err
	}
	env, stop, err := l.exerciseEnv(ctx, []*exercise.Exercise{e})
	if err != nil {
		return err
	}
	defer stop()
	l.announceExercise(ctx, e)
	return whenSaved(ctx, l, s.Dir, func() error {
		_, err = judge(ctx, l, e, exercise.Options{Env: env}, false)
		return err
	})
}

// whenSaved calls once now, and again whenever a file in dir has changed, until ctx is
// done.
func whenSaved(ctx context.Context, l *lab, dir string, once func() error) error {
	poll := time.NewTicker(300 * time.Millisecond)
	defer poll.Stop()
	for {
		before, err := snapshot(dir)
		if err != nil {
			return err
		}
		if err := once(); ctx.Err() != nil {
			return ctx.Err()
		} else if err != nil {
			fmt.Fprintln(l.err, "lab:", err)
		}
		fmt.Fprintf(l.out, "%s: waiting for the next save; Ctrl-C ends it\n\n", time.Now().Format(time.TimeOnly))
		for changed := false; ; {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-poll.C:
			}
			now, err := snapshot(dir)
			if err != nil {
				return err
			}
			same := maps.Equal(before, now)
			if changed && same { // an editor may write several files
				break
			}
			changed, before = changed || !same, now
		}
	}
}

// fileState tells a changed file from an unchanged one.
type fileState struct {
	modified time.Time
	size     int64
}

// snapshot returns the state of each file in dir, except databases and hidden files.
func snapshot(dir string) (map[string]fileState, error) {
	files := map[string]fileState{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // removed in the meantime
			return nil
		}
		if err != nil {
			return err
		}
		name := entry.Name()
		if strings.HasPrefix(name, ".") && path != dir {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if entry.IsDir() || strings.Contains(filepath.Ext(name), ".db") {
			return nil
		}
		info, err := entry.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		files[path] = fileState{info.ModTime(), info.Size()}
		return nil
	})
	return files, err
}
