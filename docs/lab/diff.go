package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/internal/process"
)

func diffVerb() verb {
	var options diffOptions
	v := verb{
		name:    "diff",
		args:    "STAGE [STAGE2]",
		summary: "shows what a stage adds to the one before, or to STAGE2",
		about: `A stat first, then the difference from the stage before (or from STAGE to STAGE2),
with the stages' own module paths folded into one. README.md, go.sum and exercises/
are left out; tests and generated code are in the stat only.`,
		run: func(ctx context.Context, l *lab, names []string) error { return diff(ctx, l, options, names) },
	}
	v.flags.BoolVar(&options.stat, "stat", false, "the stat alone")
	v.flags.BoolVar(&options.tests, "tests", false, "the tests too, after the code")
	return v
}

// diffOptions are the flags of diff.
type diffOptions struct{ stat, tests bool }

func diff(ctx context.Context, l *lab, options diffOptions, names []string) error {
	before, after, err := l.stagesToDiff(names)
	if err != nil {
		return err
	}
	text, err := diffText(ctx, l, before, after, options.stat, options.tests, isTerminal(l.out) && os.Getenv("NO_COLOR") == "")
	if err != nil {
		return err
	}
	return page(ctx, l, text)
}

func (l *lab) stagesToDiff(names []string) (before, after stage, err error) {
	first, err := l.findStage(names[0])
	if err != nil {
		return before, after, err
	}
	if len(names) == 2 {
		second, err := l.findStage(names[1])
		if err != nil {
			return before, after, err
		}
		return l.stages[first], l.stages[second], nil
	}
	if first == 0 {
		return before, after, usageError(fmt.Sprintf("%s is the first stage; there is none before it", l.stages[0].name))
	}
	return l.stages[first-1], l.stages[first], nil
}

// diffText is the stat and the difference, as git prints them. Both stages go
// into a temporary repository, so that the paths are those inside a stage.
func diffText(ctx context.Context, l *lab, before, after stage, statOnly, withTests, colours bool) ([]byte, error) {
	dir, err := os.MkdirTemp("", "microcomm-diff-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	repository := filepath.Join(dir, "repository")
	if _, err := git(ctx, dir, "init", "--quiet", "--bare", repository); err != nil {
		return nil, err
	}
	var trees []string
	for _, s := range []stage{before, after} {
		files, err := comparedFiles(ctx, l.root, s)
		if err != nil {
			return nil, err
		}
		work := filepath.Join(dir, s.name)
		for path, content := range files {
			file := filepath.Join(work, filepath.FromSlash(path))
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				return nil, err
			}
			if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
				return nil, err
			}
		}
		at := []string{"-c", "core.autocrlf=false", "--git-dir=" + repository, "--work-tree=" + work}
		if _, err := git(ctx, work, append(at, "add", "--all", "--force", ".")...); err != nil {
			return nil, err
		}
		tree, err := git(ctx, work, append(at, "write-tree")...)
		if err != nil {
			return nil, err
		}
		trees = append(trees, strings.TrimSpace(tree))
	}
	var text bytes.Buffer
	fmt.Fprintf(&text, "What %s changes in %s. README.md, go.sum and exercises/ are left out.\n\n", after.name, before.name)
	show := func(args ...string) error {
		args = append([]string{"--git-dir=" + repository, "diff", "--find-renames", fmt.Sprintf("--color=%s", map[bool]string{true: "always", false: "never"}[colours])}, args...)
		out, err := git(ctx, dir, args...)
		text.WriteString(out)
		return err
	}
	const tests, generated = "*_test.go", "*.pb.go"
	testsTitle := "tests, not shown below without --tests:\n"
	if withTests {
		testsTitle = "tests:\n"
	}
	for _, group := range []struct {
		title string
		paths []string
	}{
		{"", []string{".", ":!" + tests, ":!" + generated}},
		{testsTitle, []string{tests}},
		{"generated code, not shown below:\n", []string{generated}},
	} {
		mark := text.Len()
		text.WriteString(group.title)
		titled := text.Len()
		if err := show(append([]string{"--stat=100", trees[0], trees[1], "--"}, group.paths...)...); err != nil {
			return nil, err
		}
		if text.Len() == titled {
			text.Truncate(mark) // nothing of this kind
		}
	}
	if statOnly {
		return text.Bytes(), nil
	}
	text.WriteString("\n")
	if err := show(trees[0], trees[1], "--", ".", ":!"+tests, ":!"+generated); err != nil || !withTests {
		return text.Bytes(), err
	}
	err = show(trees[0], trees[1], "--", tests)
	return text.Bytes(), err
}

// page shows the text in the pager that git would use, when there is a terminal.
func page(ctx context.Context, l *lab, text []byte) error {
	pager := ""
	if isTerminal(l.out) {
		pager, _ = git(ctx, l.root, "var", "GIT_PAGER")
		pager = strings.TrimSpace(pager)
	}
	if pager == "" || pager == "cat" {
		_, err := l.out.Write(text)
		return err
	}
	// through git's shell, as git does it, and so on Windows too
	env := os.Environ()
	for _, setting := range []string{"LESS=FRX", "LV=-c"} {
		name, _, _ := strings.Cut(setting, "=")
		if _, set := os.LookupEnv(name); !set {
			env = append(env, setting)
		}
	}
	// no time limit: it ends when the reader has read
	return process.Run(context.WithoutCancel(ctx), process.Command{
		Args: []string{"git", "-c", "alias.page=!" + pager, "page"}, Dir: l.root, Env: env,
		Stdin: bytes.NewReader(text), Stdout: l.out, Stderr: l.err, Foreground: true,
	})
}
