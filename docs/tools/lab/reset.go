package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"microcomm/docs/tools/internal/exercise"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/repo"
)

func resetVerb() verb {
	var to string
	v := verb{
		name:    "reset",
		args:    "STAGE",
		summary: "restores a stage, after saving your work on a branch",
		about: `Restores the stage's files to the commit where your branch left the main branch of
origin, even if you have committed since; without an origin, to HEAD. New files are
removed; ignored files, and new ones in exercises/, stay. First the stage as it is
now, with new files, goes into a commit on a branch lab/NN-EXERCISE-DATE, after the
exercise that you checked last; neither your own branch nor git's index is touched. It prints how to get the work back. If the stage
has not changed, it does nothing.`,
	}
	v.flags.StringVar(&to, "to", "", "restore it to the commit `REV` instead")
	v.run = func(ctx context.Context, l *lab, args []string) error {
		at, err := l.findStage(args[0])
		if err != nil {
			return err
		}
		return reset(ctx, l, l.stages[at], to, nil)
	}
	return v
}

// baseRevision returns the commit with the stages as the learner received them: the one
// where HEAD left origin's main branch, or HEAD if there is no origin.
func baseRevision(ctx context.Context, root string) (string, error) {
	for _, upstream := range []string{"origin/HEAD", "origin/main", "origin/master"} {
		if base, err := repo.Git(ctx, root, "merge-base", "HEAD", upstream); err == nil {
			return strings.TrimSpace(base), nil
		}
	}
	head, err := repo.Git(ctx, root, "rev-parse", "--verify", "HEAD^{commit}")
	return strings.TrimSpace(head), err
}

// reset saves the stage on a branch, and then restores it to a revision, with the
// solution of an exercise if one is named. Git's index and HEAD stay unchanged: reset
// uses a separate index.
func reset(ctx context.Context, l *lab, s repo.Stage, to string, solved *exercise.Exercise) error {
	dir, err := os.MkdirTemp("", "microcomm-reset-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if to == "" {
		if to, err = baseRevision(ctx, l.root); err != nil {
			return err
		}
	}
	index, saved, wanted, err := resetTrees(ctx, l, s, dir, to, solved)
	if err != nil {
		return err
	}
	if wanted == saved {
		fmt.Fprintf(l.out, "%s is already as it should be: nothing to do\n", s.Name)
		return nil
	}
	doing, err := l.lastTried(s)
	if err != nil {
		return err
	}
	if doing == "" && solved != nil {
		doing = solved.Name
	}
	branch, err := saveWork(ctx, s, doing, index, saved)
	if err != nil {
		return fmt.Errorf("save your work, before anything was changed: %w", err)
	}
	// This refuses to overwrite anything that is not in saved.
	if _, err := index.git(ctx, "read-tree", "-m", "-u", saved, wanted); err != nil {
		return err
	}
	described, err := repo.Git(ctx, l.root, "log", "-1", "--date=short", "--format=%h of %ad (%s)", to)
	if err != nil {
		return err
	}
	fmt.Fprintf(l.out, `Your work in %[1]s is saved on the branch %[2]s. To see it, and to get it back:
  git diff -R %[2]s -- :/%[1]s
  git restore --source=%[2]s -- :/%[1]s
%[1]s is now that of %[3]s`, s.Name, branch, strings.TrimSpace(described))
	if solved != nil {
		fmt.Fprintf(l.out, ", with the solution of %s", solved.Name)
	}
	fmt.Fprintln(l.out)
	return nil
}

// isSolution reports whether the stage is exactly what lab solution --apply made it.
func isSolution(ctx context.Context, l *lab, s repo.Stage, e *exercise.Exercise) (bool, error) {
	dir, err := os.MkdirTemp("", "microcomm-reset-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	to, err := baseRevision(ctx, l.root)
	if err != nil {
		return false, err
	}
	_, saved, wanted, err := resetTrees(ctx, l, s, dir, to, e)
	return saved == wanted && err == nil, err
}

// resetTrees returns the hashes of two trees: HEAD with the stage in its present state,
// and HEAD with the stage of a revision, solved if an exercise is named. The index, whose
// file is in dir, holds the first.
func resetTrees(ctx context.Context, l *lab, s repo.Stage, dir, to string, solved *exercise.Exercise) (index gitIndex, saved, wanted string, err error) {
	exercises := s.Name + "/exercises"
	code := []string{"--", s.Name, ":(exclude)" + exercises}
	// saved: HEAD, with the stage in its present state
	index = gitIndex{root: l.root, file: filepath.Join(dir, "saved")}
	saved, err = index.tree(ctx,
		[]string{"read-tree", "HEAD"},
		append([]string{"add", "--all"}, code...),
		[]string{"add", "--update", "--", s.Name}, // no new files in exercises/
	)
	if err != nil {
		return index, "", "", err
	}
	// target: the same with the stage of the revision
	there, err := repo.Git(ctx, l.root, "ls-tree", "-r", "-z", "--full-tree", to, "--", s.Name)
	if err != nil {
		return index, "", "", err
	}
	if there == "" {
		return index, "", "", fmt.Errorf("%s has no %s", to, s.Name)
	}
	target := gitIndex{root: l.root, file: filepath.Join(dir, "target"), stdin: there}
	steps := [][]string{
		{"read-tree", saved},
		append([]string{"rm", "-r", "--cached", "--quiet", "--ignore-unmatch"}, code...),
		{"update-index", "-z", "--index-info"}, // reads there
	}
	if solved != nil {
		steps = append(steps, []string{"apply", "--cached", solved.Solution()})
	}
	wanted, err = target.tree(ctx, steps...)
	return index, saved, wanted, err
}

// saveWork commits the tree on a new branch, named after the exercise that was
// being done, if any, and returns the branch's name.
func saveWork(ctx context.Context, s repo.Stage, doing string, index gitIndex, tree string) (string, error) {
	message := fmt.Sprintf("%s as it was before it was reset", s.Name)
	commit, err := index.git(ctx, "commit-tree", "-p", "HEAD", "-m", message, tree)
	if err != nil {
		return "", err
	}
	number, _, _ := strings.Cut(s.Name, "-")
	name := "lab/" + number + "-"
	if doing != "" {
		name += doing + "-"
	}
	name += time.Now().Format("2006-01-02-150405")
	for i := 1; ; i++ {
		branch := name
		if i > 1 {
			branch = fmt.Sprintf("%s-%d", name, i)
		}
		// created only if it is new
		_, err = index.git(ctx, "update-ref", "refs/heads/"+branch, commit, "")
		if err == nil || i == 10 {
			return branch, err
		}
	}
}

// gitIndex runs git at the checkout's top with an index other than the user's.
type gitIndex struct{ root, file, stdin string }

// git returns what git prints, without white space around it.
func (g gitIndex) git(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	// A commit needs an author, and git may have no name configured.
	env := append(os.Environ(), "GIT_INDEX_FILE="+g.file,
		"GIT_AUTHOR_NAME=lab", "GIT_AUTHOR_EMAIL=lab@localhost", "GIT_COMMITTER_NAME=lab", "GIT_COMMITTER_EMAIL=lab@localhost")
	out, err := process.Output(ctx, process.Command{Args: append([]string{"git"}, args...), Dir: g.root, Env: env, Stdin: strings.NewReader(g.stdin)})
	return strings.TrimSpace(out), err
}

// tree runs git several times, and returns the hash of the tree in the index.
func (g gitIndex) tree(ctx context.Context, steps ...[]string) (string, error) {
	for _, args := range steps {
		if _, err := g.git(ctx, args...); err != nil {
			return "", err
		}
	}
	return g.git(ctx, "write-tree")
}
