package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/repo"
)

func forwardVerb() verb {
	var options forwardOptions
	v := verb{
		name:    "forward",
		args:    "STAGE",
		summary: "carries a fix in a stage into every stage after it",
		about: `The changes in STAGE's files since the last commit, or since REV, are merged file by file
into each later stage, by git merge-file. The later stage's own differences stay. Added and
deleted files are carried too, and moved files are followed. README.md, go.sum and
exercises/ belong to one stage and are not carried: go mod tidy makes go.sum. It stops at
the first stage with a conflict. Commit before you change the same lines again, or they
conflict with the first fix.`,
		run: func(ctx context.Context, l *lab, names []string) error { return forward(ctx, l, options, names[0]) },
	}
	v.flags.BoolVar(&options.dryRun, "dry-run", false, "print what it would do, and do nothing")
	v.flags.StringVar(&options.base, "base", "HEAD", "carry what changed since `REV`, when the fix is committed already")
	return v
}

// forwardOptions are the flags of forward.
type forwardOptions struct {
	dryRun bool
	base   string
}

func forward(ctx context.Context, l *lab, options forwardOptions, name string) error {
	at, err := l.findStage(name)
	if err != nil {
		return err
	}
	// HEAD moves when the user commits between two runs
	revision, err := repo.Git(ctx, l.root, "rev-parse", "--short", "--verify", options.base+"^{commit}")
	if err != nil {
		return err
	}
	revision = strings.TrimSpace(revision)
	from := l.stages[at]
	changes, err := changesSince(ctx, l.root, from, revision)
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		fmt.Fprintf(l.out, "%s has not changed since %s: nothing to carry\n", from.Name, revision)
		return nil
	}
	place := map[string]string{} // where a file of from is now, if it was moved
	for i, to := range l.stages[at+1:] {
		conflicts := 0
		fmt.Fprintln(l.out, to.Name)
		for _, path := range slices.Sorted(maps.Keys(changes)) {
			place[path], err = movedTo(ctx, l, l.stages[at+i], to, cmp.Or(place[path], path))
			if err != nil {
				return err
			}
			done, err := carry(ctx, from, to, path, place[path], changes[path], options.dryRun)
			if err != nil && !errors.Is(err, errConflict) {
				return fmt.Errorf("carry %s into %s: %w", path, to.Name, err)
			}
			if err != nil {
				conflicts++
				done = colour(l.out, "31", "conflict") + ": " + done
			}
			fmt.Fprintf(l.out, "  %s: %s\n", path, done)
		}
		if conflicts > 0 {
			fmt.Fprintf(l.out, "\nStopped at %s. Resolve its conflicts, run its tests, then continue from it:\n  go tool lab forward --base %s %s\n", to.Name, revision, to.Name)
			return errReported
		}
	}
	return nil
}

// change is one file before and after: nil where it does not exist.
type change struct{ base, new *string }

// changesSince returns the stage's compared files that differ from the revision.
func changesSince(ctx context.Context, root string, s repo.Stage, revision string) (map[string]change, error) {
	listed, err := repo.Git(ctx, root, "ls-tree", "-r", "-z", "--name-only", revision, "--", s.Name+"/")
	if err != nil {
		return nil, err
	}
	found := map[string]change{}
	for _, path := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		path = strings.TrimPrefix(path, s.Name+"/")
		if path == "" || !changes.Compared(path) {
			continue
		}
		content, err := repo.Git(ctx, root, "show", revision+":"+s.Name+"/"+path)
		if err != nil {
			return nil, err
		}
		found[path] = change{base: &content}
	}
	paths, err := changes.List(ctx, root, s)
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		if !changes.Compared(path) {
			continue
		}
		content, err := readFile(s, path)
		if err != nil {
			return nil, err
		}
		c := found[path]
		if c.base != nil && *c.base == *content {
			delete(found, path)
			continue
		}
		c.new = content
		found[path] = c
	}
	return found, nil
}

// readFile returns a stage's file, nil when it does not exist.
func readFile(s repo.Stage, path string) (*string, error) {
	content, err := os.ReadFile(filepath.Join(s.Dir, filepath.FromSlash(path)))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text := string(content)
	return &text, nil
}

// errConflict is returned for a file that has to be merged by hand.
var errConflict = errors.New("conflict")

// movedTo returns the path of a stage's file in the next stage, which may have moved it.
func movedTo(ctx context.Context, l *lab, before, after repo.Stage, path string) (string, error) {
	if after.Has(path) || !before.Has(path) {
		return path, nil
	}
	c, err := changes.Compare(ctx, l.root, before, after, false)
	if err != nil {
		return "", err
	}
	moved, least := path, math.MaxInt
	for _, f := range c.Files {
		if f.From == path && f.Added+f.Removed < least {
			moved, least = f.Path, f.Added+f.Removed
		}
	}
	return moved, nil
}

// carry applies a change of the file at path in from to the file at place in to, and
// returns what it did, in words.
func carry(ctx context.Context, from, to repo.Stage, path, place string, c change, dryRun bool) (string, error) {
	ours, err := readFile(to, place)
	if err != nil {
		return "", err
	}
	translate := func(text *string) *string {
		if text == nil {
			return nil
		}
		translated := strings.ReplaceAll(*text, from.Module(), to.Module())
		return &translated
	}
	base, theirs := translate(c.base), translate(c.new)
	target := filepath.Join(to.Dir, filepath.FromSlash(place))
	in := ""
	if place != path {
		in = " into " + place
	}
	write := func(text string) error {
		if dryRun {
			return nil
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o644)
		if info, err := os.Stat(filepath.Join(from.Dir, filepath.FromSlash(path))); err == nil {
			mode = info.Mode().Perm()
		}
		return os.WriteFile(target, []byte(text), mode)
	}
	switch {
	case same(ours, theirs):
		return "has the change already", nil
	case theirs == nil && same(ours, base):
		if dryRun {
			return "deleted", nil
		}
		return "deleted", os.Remove(target)
	case theirs == nil:
		return "deleted in " + from.Name + ", but this stage has changed it: delete it or keep it", errConflict
	case ours == nil && base == nil:
		return "added", write(*theirs)
	case ours == nil:
		return "absent here, skipped", nil
	case same(ours, base):
		return "replaced" + in, write(*theirs)
	}
	if base == nil { // both stages have added it
		base = new(string)
	}
	merged, clean, err := mergeFile(ctx, *ours, *base, *theirs, to.Name, from.Name)
	if err != nil {
		return "", err
	}
	if !clean {
		return "see its <<<<<<< and >>>>>>> marks", errors.Join(errConflict, write(merged))
	}
	if merged == *ours {
		return "has the change already", nil
	}
	return "merged" + in, write(merged)
}

func same(a, b *string) bool {
	return a == nil && b == nil || a != nil && b != nil && *a == *b
}

// mergeFile merges three versions of a text; clean is false when the result
// holds conflict marks.
func mergeFile(ctx context.Context, ours, base, theirs, ourName, theirName string) (merged string, clean bool, err error) {
	dir, err := os.MkdirTemp("", "microcomm-forward-")
	if err != nil {
		return "", false, err
	}
	defer os.RemoveAll(dir)
	for name, content := range map[string]string{"ours": ours, "base": base, "theirs": theirs} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", false, err
		}
	}
	_, err = repo.Git(ctx, dir, "merge-file", "-L", ourName, "-L", "base", "-L", theirName, "ours", "base", "theirs")
	// its status is the number of conflicts; 128 and above is a failure
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 && exit.ExitCode() < 128 {
		clean, err = false, nil
	} else if err != nil {
		return "", false, err
	} else {
		clean = true
	}
	content, err := os.ReadFile(filepath.Join(dir, "ours"))
	return string(content), clean, err
}
