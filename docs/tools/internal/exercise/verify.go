package exercise

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/format"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

// Verify verifies each exercise in a copy of the checkout with its present files: on the
// original stage, its tests compile and each of them fails; with the solution they pass,
// with the race detector and vet, and so do the tests of the packages that the solution
// can affect; each mutant is rejected by the test in its name. Failures are printed, and
// make the result an error.
//
// Tests wait more than they compute. So exercises with a broker are verified
// beside those without: two at a time, which share nothing.
func Verify(ctx context.Context, root string, exercises []*Exercise, env []string, out io.Writer) error {
	with, without := []*Exercise{}, []*Exercise{}
	for _, e := range exercises {
		if e.NeedsBroker() {
			with = append(with, e)
		} else {
			without = append(without, e)
		}
	}
	r := &run{root: root, env: env, out: out, total: len(exercises)}
	errs := make([]error, 2)
	var lanes sync.WaitGroup
	for i, lane := range [][]*Exercise{with, without} {
		if len(lane) > 0 {
			lanes.Go(func() { errs[i] = r.verify(ctx, lane) })
		}
	}
	lanes.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	fmt.Fprintf(out, "\n%d passed, %d failed, 0 skipped\n", r.total-len(r.failed), len(r.failed))
	if len(r.failed) > 0 {
		return fmt.Errorf("%d of %d exercises do not hold: %s", len(r.failed), r.total, strings.Join(r.failed, ", "))
	}
	return nil
}

// run is that of all verifications.
type run struct {
	root string
	env  []string

	lock        sync.Mutex // guards what follows
	out         io.Writer
	total, done int
	failed      []string
}

// verify verifies exercises one after the other.
func (r *run) verify(ctx context.Context, exercises []*Exercise) error {
	dir, err := os.MkdirTemp("", "microcomm-verify-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	c, err := copyCheckout(ctx, r.root, dir)
	if err != nil {
		return fmt.Errorf("copy the checkout: %w", err)
	}
	for _, e := range exercises {
		start := time.Now()
		v := &verification{run: r, copy: c, exercise: e}
		if err := v.all(ctx); err != nil {
			return fmt.Errorf("verify %s: %w", e, err)
		}
		r.end(v, time.Since(start))
	}
	return nil
}

// end counts and prints the result of an exercise.
func (r *run) end(v *verification, took time.Duration) {
	r.lock.Lock()
	defer r.lock.Unlock()
	r.done++
	result := "holds"
	if v.failed {
		r.failed = append(r.failed, v.exercise.String())
		result = "does not hold"
	}
	fmt.Fprintf(r.out, "%s %s (%d of %d, %.0fs)\n", v.exercise, result, r.done, r.total, took.Seconds())
}

// checkoutCopy is a copy of the checkout with its own git repository.
type checkoutCopy struct {
	dir  string
	tree string // the hash of its files when they were copied
}

func copyCheckout(ctx context.Context, root, dir string) (*checkoutCopy, error) {
	listed, err := repo.Git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	for _, path := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		from, to := filepath.Join(root, filepath.FromSlash(path)), filepath.Join(dir, filepath.FromSlash(path))
		info, err := os.Lstat(from)
		if errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue // deleted and not yet committed; or no file
		}
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(to, content, info.Mode().Perm()); err != nil {
			return nil, err
		}
	}
	c := &checkoutCopy{dir: dir}
	if _, err := repo.Git(ctx, dir, "init", "--quiet"); err != nil {
		return nil, err
	}
	if _, err := repo.Git(ctx, dir, "-c", "core.autocrlf=false", "add", "--all", "--force"); err != nil {
		return nil, err
	}
	c.tree, err = c.write(ctx)
	return c, err
}

// write returns the hash of the present files.
func (c *checkoutCopy) write(ctx context.Context) (string, error) {
	tree, err := repo.Git(ctx, c.dir, "write-tree")
	return strings.TrimSpace(tree), err
}

// apply applies a patch.
func (c *checkoutCopy) apply(ctx context.Context, patch string) error {
	_, err := repo.Git(ctx, c.dir, "apply", "--index", patch)
	return err
}

// restore restores the files.
func (c *checkoutCopy) restore(ctx context.Context, tree string) error {
	_, err := repo.Git(ctx, c.dir, "read-tree", "--reset", "-u", tree)
	return err
}

// verification is that of one exercise.
type verification struct {
	run      *run
	copy     *checkoutCopy
	exercise *Exercise
	failed   bool
}

func (v *verification) fail(format string, args ...any) {
	v.failed = true
	v.say("FAIL " + strings.ReplaceAll(strings.TrimSpace(fmt.Sprintf(format, args...)), "\n", "\n    "))
}

// say prints a line about the exercise.
func (v *verification) say(what string) {
	v.run.lock.Lock()
	defer v.run.lock.Unlock()
	fmt.Fprintf(v.run.out, "%s: %s\n", v.exercise, what)
}

// all runs the steps, up to the first that fails. An error means that a step could not
// run.
func (v *verification) all(ctx context.Context) error {
	v.checkText()
	inCopy := *v.exercise
	inCopy.root = v.copy.dir
	v.exercise = &inCopy
	mutants, err := v.exercise.mutants()
	if err != nil {
		v.fail("%v", err)
		return nil
	}
	if len(mutants) == 0 {
		v.fail("it has no mutants")
	}
	if v.failed {
		return nil
	}
	if err := v.untouched(ctx); err != nil || v.failed {
		return err
	}
	defer v.copy.restore(context.WithoutCancel(ctx), v.copy.tree)
	if err := v.copy.apply(ctx, v.exercise.Solution()); err != nil {
		v.fail("solution.patch does not apply: %v", err)
		return ctx.Err()
	}
	solved, err := v.copy.write(ctx)
	if err != nil {
		return err
	}
	if err := v.solved(ctx, solved); err != nil || v.failed {
		return err
	}
	for _, m := range mutants {
		if err := v.mutant(ctx, m); err != nil {
			return err
		}
		if err := v.copy.restore(ctx, solved); err != nil {
			return err
		}
	}
	return nil
}

// checkText compares the acceptance with the tests.
func (v *verification) checkText() {
	e := v.exercise
	known := slices.Concat(e.Tests, e.ClusterTests)
	held := map[string]bool{}
	for _, item := range e.Items {
		if len(item.Tests) == 0 {
			v.fail("README.md: this item of the acceptance names no test: %s", item.Text)
		}
		for _, test := range item.Tests {
			held[test] = true
			if !slices.Contains(known, test) {
				v.fail("README.md: the acceptance names %s, which is no test", test)
			}
		}
	}
	for _, test := range known {
		if !held[test] {
			v.fail("README.md: the acceptance does not name %s", test)
		}
	}
	if !regexp.MustCompile(`^(easy|medium|hard), about \d+ (minutes?|hours?)$`).MatchString(e.Level) {
		v.fail("README.md: the level must be as \"easy, about 20 minutes\", not %q", e.Level)
	}
	v.checkTable()
}

// checkTable compares the level with the table of the stage's README.
func (v *verification) checkTable() {
	e := v.exercise
	text, err := os.ReadFile(filepath.Join(e.root, e.Stage, "README.md"))
	if err != nil {
		v.fail("%v", err)
		return
	}
	row := regexp.MustCompile(`(?m)^\| \[.*\]\(exercises/` + regexp.QuoteMeta(e.Name) + `/README\.md\) \| ([^|]*) \|`).FindStringSubmatch(string(text))
	if row == nil {
		v.fail("the table of exercises in %s/README.md does not have it", e.Stage)
		return
	}
	if level, _, _ := strings.Cut(e.Level, ","); row[1] != level {
		v.fail("it is %s, but %s in the table of %s/README.md", level, row[1], e.Stage)
	}
}

// untouched checks that each test fails on the original stage.
func (v *verification) untouched(ctx context.Context) error {
	v.say("the stage as it is")
	r, err := v.exercise.Run(ctx, Options{Env: v.run.env, Still: v.still, noVet: true})
	if err != nil {
		return err
	}
	for _, problem := range r.Problems {
		v.fail("on the stage as it is: %s", problem)
	}
	for _, t := range r.Tests {
		switch {
		case len(r.Problems) > 0:
		case t.State != "fail":
			v.fail("on the stage as it is, %s does not fail (%s): %s", t.Name, orNoResult(t.State), t.Message)
		case strings.TrimSpace(t.Message) == "":
			v.fail("on the stage as it is, %s fails without a message", t.Name)
		}
	}
	return nil
}

// solved checks that its tests pass with the solution, and the tests of the packages that
// the solution can affect.
func (v *verification) solved(ctx context.Context, tree string) error {
	e := v.exercise
	changed, err := repo.Git(ctx, v.copy.dir, "diff", "--name-only", "-z", v.copy.tree, tree)
	if err != nil {
		return err
	}
	paths := strings.Split(strings.TrimRight(changed, "\x00"), "\x00")
	v.checkFormat(paths)
	packages, err := e.affected(ctx, v.run.env, paths)
	if err != nil {
		return err
	}
	if e.ofManifests() {
		var judges []string // the rules for all manifests, when it changes some of the stage
		if slices.ContainsFunc(paths, func(path string) bool { return !strings.HasPrefix(path, e.Stage+"/exercises/") }) {
			judges = []string{"./" + manifests}
		}
		if err := v.pass(ctx, e, judges); err != nil || len(packages) == 0 {
			return err
		}
		return v.passOwn(ctx, packages)
	}
	if judge := "./" + e.pkg; !slices.Contains(packages, judge) {
		packages = append(packages, judge)
	}
	return v.pass(ctx, e, packages)
}

// checkFormat reports a Go file that gofmt would change.
func (v *verification) checkFormat(paths []string) {
	for _, path := range paths {
		source, err := os.ReadFile(filepath.Join(v.copy.dir, filepath.FromSlash(path)))
		if !strings.HasSuffix(path, ".go") || err != nil { // deleted by the solution
			continue
		}
		if formatted, err := format.Source(source); err == nil && !bytes.Equal(source, formatted) {
			v.fail("with the solution, %s is not formatted: run gofmt", path)
		}
	}
}

// pass runs the exercise's tests, with those of the packages if there are any.
func (v *verification) pass(ctx context.Context, e *Exercise, packages []string) error {
	v.say(strings.TrimSuffix("with the solution, "+strings.Join(packages, " "), ", "))
	r, err := e.Run(ctx, Options{Env: v.run.env, Race: true, Still: v.still, packages: packages})
	if err != nil {
		return err
	}
	for _, problem := range r.Problems {
		v.fail("with the solution: %s", problem)
	}
	for _, t := range r.Tests {
		if t.State != "pass" && len(r.Problems) == 0 {
			v.fail("with the solution, %s does not pass (%s): %s", t.Name, orNoResult(t.State), t.Message)
		}
	}
	for _, own := range r.own {
		v.fail("with the solution, a test of the stage fails: %s", own)
	}
	return nil
}

// passOwn runs the tests of those packages of the stage, if the stage does not judge the
// exercise itself.
func (v *verification) passOwn(ctx context.Context, packages []string) error {
	v.say("with the solution, " + strings.Join(packages, " "))
	r, err := v.exercise.runPackages(ctx, Options{Env: v.run.env, Race: true, Still: v.still}, packages)
	if err != nil {
		return err
	}
	for _, failure := range slices.Concat(r.Problems, r.own) {
		v.fail("with the solution, the stage's own tests fail: %s", failure)
	}
	return nil
}

// mutant checks that the test in its name fails.
func (v *verification) mutant(ctx context.Context, m mutant) error {
	name := filepath.Base(m.file)
	v.say(name)
	if err := v.copy.apply(ctx, m.file); err != nil {
		v.fail("mutants/%s does not apply to the solution: %v", name, err)
		return ctx.Err()
	}
	r, err := v.exercise.Run(ctx, Options{Env: v.run.env, Still: v.still, only: m.test, noVet: true})
	if err != nil {
		return err
	}
	for _, problem := range r.Problems {
		v.fail("mutants/%s: %s", name, problem)
	}
	if t := r.Test(m.test); t.State != "fail" && len(r.Problems) == 0 {
		v.fail("mutants/%s is let through by %s (%s)", name, m.test, orNoResult(t.State))
	}
	return nil
}

func (v *verification) still(elapsed time.Duration) {
	if elapsed%(30*time.Second) == 0 {
		v.say(fmt.Sprintf("compiling and testing (%s)", elapsed))
	}
}

func orNoResult(s State) string {
	if s == "" {
		return "no result"
	}
	return string(s)
}
