package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/exercise"
	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/rabbitmq"
)

// findExercise returns an exercise of a stage by its name.
func (l *lab) findExercise(stage, name string) (*exercise.Exercise, error) {
	at, err := l.findStage(stage)
	if err != nil {
		return nil, err
	}
	all, err := exercise.List(l.root, l.stages[at].Name)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range all {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	if len(all) == 0 {
		return nil, usageError(l.stages[at].Name + " has no exercises")
	}
	return nil, usageError(fmt.Sprintf("%s has no exercise %s; %s", l.stages[at].Name, name,
		cli.OrNearest(name, names, "its exercises are "+strings.Join(names, ", "))))
}

// exerciseEnv returns the environment for the tests of exercises, with a broker if one of
// them needs it. The caller must call stop.
func (l *lab) exerciseEnv(ctx context.Context, exercises []*exercise.Exercise) (env []string, stop func(), err error) {
	if !slices.ContainsFunc(exercises, (*exercise.Exercise).NeedsBroker) {
		return os.Environ(), func() {}, nil
	}
	broker, err := rabbitmq.Start(ctx, l.out)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintln(l.err, "broker:", broker.What)
	return append(os.Environ(), "RABBITMQ_URL="+broker.URL), broker.Stop, nil
}

// checkExercise judges the learner's work once.
func checkExercise(ctx context.Context, l *lab, options checkOptions, stage, name string) error {
	e, err := l.findExercise(stage, name)
	if err != nil {
		return err
	}
	if err := cmp.Or(needCompiler(ctx), needClone(ctx, l.root)); err != nil {
		return err
	}
	o := exercise.Options{Cluster: options.cluster}
	var stop func()
	if options.cluster {
		if len(e.ClusterTests) == 0 {
			return usageError(e.String() + " has no tests for a cluster; check it without --cluster")
		}
		k, err := currentCluster(ctx, options.namespace)
		if err != nil {
			return err
		}
		o.Env, stop = append(os.Environ(), "KUBE_CONTEXT="+k.context, "KUBE_NAMESPACE="+k.namespace), func() {}
	} else if o.Env, stop, err = l.exerciseEnv(ctx, []*exercise.Exercise{e}); err != nil {
		return err
	}
	defer stop()
	l.announceExercise(ctx, e)
	v, err := judge(ctx, l, e, o, options.verbose)
	if err != nil {
		return err
	}
	if options.report != "" {
		l.sendReport(ctx, options, e, v)
	}
	if !v.passed {
		return errReported
	}
	return nil
}

// announceExercise is announce for the tests of an exercise.
func (l *lab) announceExercise(ctx context.Context, e *exercise.Exercise) {
	dir, packages := e.Judge()
	l.announce(ctx, dir, true, packages...)
}

// verdict is what a check has found.
type verdict struct {
	passed      bool     // and the stage's own tests pass
	counts      bool     // it is not the solution as lab applied it
	held, total int      // items of the acceptance
	failed      []string // tests
}

// judge runs an exercise's tests on the learner's work and prints which items of
// its acceptance hold. When all do, the stage's own tests must pass, too.
func judge(ctx context.Context, l *lab, e *exercise.Exercise, o exercise.Options, verbose bool) (v verdict, err error) {
	fmt.Fprintf(l.out, "%s: %s\n\n", colour(l.out, "1", e.String()), e.Title)
	o.Race = true
	o.Still = func(elapsed time.Duration) { fmt.Fprintf(l.err, "  … compiling and testing (%s)\n", elapsed) }
	r, err := e.Run(ctx, o)
	if err != nil {
		return v, err
	}
	l.printProblems(r.Problems)
	v = l.printItems(e, r, verbose)
	if len(v.failed) > 0 && !verbose {
		fmt.Fprintf(l.out, "\n-v shows everything that the tests print. The tests are in:\n  %s/exercises/%s\n", e.Stage, e.Name)
	}
	passed, ownPassed := r.Passed(), true
	if passed && !o.Cluster {
		if ownPassed, err = judgeOwn(ctx, l, e, o); err != nil {
			return v, err
		}
	}
	applied := false
	if passed && ownPassed {
		if applied, err = l.solutionApplied(ctx, e); err != nil {
			return v, err
		}
	}
	fmt.Fprintf(l.out, "\n%d of %d hold.", v.held, v.total)
	switch {
	case !passed:
		fmt.Fprintf(l.out, " The next hint: go tool lab hint %s\n", e)
	case !ownPassed:
		fmt.Fprintln(l.out, " Not passed: the stage's own tests fail.")
	case applied:
		fmt.Fprintln(l.out, " This is the solution as lab applied it: the exercise does not count as passed.")
	default:
		fmt.Fprintf(l.out, " Passed. Compare: go tool lab solution %s\n", e)
	}
	v.passed = passed && ownPassed
	v.counts = v.passed && !applied
	return v, l.note(e, func(p *progress) {
		p.Checks++
		p.TriedAt = now()
		if v.counts && p.PassedAt == nil && !o.Cluster {
			p.PassedAt = now()
		}
	})
}

// printProblems prints why tests could not run, or did not end.
func (l *lab) printProblems(problems []string) {
	for _, problem := range problems {
		for line := range strings.SplitSeq(fmt.Sprintf("  %s %s", colour(l.out, "31", "FAIL"), indent(problem, "       ")), "\n") {
			fmt.Fprintln(l.out, layout.Wrap(line, "         "))
		}
	}
	if len(problems) > 0 {
		fmt.Fprintln(l.out)
	}
}

// printItems prints which items of the acceptance hold and, once for each test, why it
// failed. It returns their numbers, and the tests that failed.
func (l *lab) printItems(e *exercise.Exercise, r *exercise.Result, verbose bool) (v verdict) {
	shown := map[string]bool{}
	for _, item := range itemsOf(e, r) {
		v.total++
		state := exercise.State("pass")
		for _, name := range item.Tests {
			if s := r.Test(name).State; s != "pass" {
				state = s
			}
		}
		mark := colour(l.out, "33", "?   ") // no result
		switch state {
		case "pass":
			v.held++
			mark = colour(l.out, "32", "ok  ")
		case "fail":
			mark = colour(l.out, "31", "FAIL")
		case "skip":
			mark = colour(l.out, "33", "skip")
		}
		fmt.Fprintln(l.out, layout.Wrap(fmt.Sprintf("  %s %s", mark, strings.ReplaceAll(item.Text, "`", "")), "       "))
		for _, name := range item.Tests {
			t := r.Test(name)
			if t.State == "pass" && !verbose || shown[name] {
				continue
			}
			shown[name] = true
			if t.State == "fail" {
				v.failed = append(v.failed, name)
			}
			if reason := t.Reason(); reason != "" {
				fmt.Fprintln(l.out, layout.Wrap("         "+reason, "         "))
			}
			if verbose {
				fmt.Fprintf(l.out, "         %s\n", indent(strings.TrimSpace(t.Output), "         "))
			}
		}
	}
	return v
}

// solutionApplied reports whether the stage is unchanged since lab solution --apply.
func (l *lab) solutionApplied(ctx context.Context, e *exercise.Exercise) (bool, error) {
	all, err := l.readProgress()
	if err != nil || !all[e.String()].Applied {
		return false, err
	}
	at, err := l.findStage(e.Stage)
	if err != nil {
		return false, err
	}
	return isSolution(ctx, l, l.stages[at], e)
}

// judgeOwn runs the stage's own tests of the learner's changes, if there are any, and
// prints the results.
func judgeOwn(ctx context.Context, l *lab, e *exercise.Exercise, o exercise.Options) (passed bool, err error) {
	at, err := l.findStage(e.Stage)
	if err != nil {
		return false, err
	}
	base, err := baseRevision(ctx, l.root)
	if err != nil {
		return false, err
	}
	changes, err := changesSince(ctx, l.root, l.stages[at], base)
	if err != nil {
		return false, err
	}
	var changed []string
	for path := range changes {
		changed = append(changed, e.Stage+"/"+path)
	}
	own, err := e.RunOwn(ctx, o, changed)
	if err != nil {
		return false, err
	}
	switch {
	case own.Passed() && len(own.Packages) > 0:
		fmt.Fprintf(l.out, "  %s the stage's own tests (%s)\n", colour(l.out, "32", "ok  "), strings.Join(own.Packages, ", "))
	case !own.Passed():
		number, _, _ := strings.Cut(e.Stage, "-")
		fmt.Fprintf(l.out, "  %s the stage's own tests\n", colour(l.out, "31", "FAIL"))
		for _, failure := range slices.Concat(own.Problems, own.Failed) {
			fmt.Fprintf(l.out, "         %s\n", indent(failure, "         "))
		}
		fmt.Fprintf(l.out, "         go tool lab test %s shows more\n", number)
	}
	return own.Passed(), nil
}

// itemsOf returns the items of the acceptance that the tests cover.
func itemsOf(e *exercise.Exercise, r *exercise.Result) []exercise.Item {
	var items []exercise.Item
	named := map[string]bool{}
	for _, item := range e.Items {
		item.Tests = slices.DeleteFunc(slices.Clone(item.Tests), func(name string) bool {
			return !slices.ContainsFunc(r.Tests, func(t exercise.Test) bool { return t.Name == name })
		})
		for _, name := range item.Tests {
			named[name] = true
		}
		if len(item.Tests) > 0 {
			items = append(items, item)
		}
	}
	for _, t := range r.Tests {
		if !named[t.Name] {
			items = append(items, exercise.Item{Text: t.Name, Tests: []string{t.Name}})
		}
	}
	return items
}

// indent puts the prefix before every line but the first.
func indent(text, prefix string) string {
	return strings.ReplaceAll(text, "\n", "\n"+prefix)
}
