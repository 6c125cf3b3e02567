package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

func diffVerb() verb {
	return verb{
		name: "diff",
		args: "[--stat] [--tests] STAGE [STAGE2]",
		help: `shows what a stage adds to the one before, or to STAGE2

A stat first, then the difference from the stage before (or from STAGE to STAGE2),
with the stages' own module paths folded into one. README.md, go.sum and exercises/
are left out; tests and generated code are in the stat only.
  --stat   the stat alone
  --tests  the tests too, after the code`,
		run: diff,
	}
}

func diff(ctx context.Context, l *lab, args []string) error {
	flags := flag.NewFlagSet("diff", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	statOnly := flags.Bool("stat", false, "")
	withTests := flags.Bool("tests", false, "")
	names, err := parseFlags(flags, args)
	if err != nil {
		return err
	}
	stages, err := listStages(l.root)
	if err != nil {
		return err
	}
	before, after, err := stagesToDiff(stages, names)
	if err != nil {
		return err
	}
	text, err := diffText(ctx, l, before, after, *statOnly, *withTests, isTerminal(l.out) && os.Getenv("NO_COLOR") == "")
	if err != nil {
		return err
	}
	return page(ctx, l, text)
}

func stagesToDiff(stages []stage, names []string) (before, after stage, err error) {
	if len(names) < 1 || len(names) > 2 {
		return before, after, usageError("diff needs a stage, or two: go tool lab diff 06")
	}
	first, err := findStage(stages, names[0])
	if err != nil {
		return before, after, err
	}
	if len(names) == 2 {
		second, err := findStage(stages, names[1])
		if err != nil {
			return before, after, err
		}
		return stages[first], stages[second], nil
	}
	if first == 0 {
		return before, after, usageError(fmt.Sprintf("%s is the first stage; there is none before it", stages[0].name))
	}
	return stages[first-1], stages[first], nil
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
	cmd := exec.Command("git", "-c", "alias.page=!"+pager, "page")
	cmd.Dir = l.root
	cmd.Stdin = bytes.NewReader(text)
	cmd.Stdout, cmd.Stderr = l.out, l.err
	cmd.Env = os.Environ()
	for _, setting := range []string{"LESS=FRX", "LV=-c"} {
		name, _, _ := strings.Cut(setting, "=")
		if _, set := os.LookupEnv(name); !set {
			cmd.Env = append(cmd.Env, setting)
		}
	}
	// no time limit: it ends when the reader has read
	cmd.WaitDelay = time.Second
	return cmd.Run()
}
