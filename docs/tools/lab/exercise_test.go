package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

// exerciseStage is a checkout whose stage 01-one has the exercise add.
func exerciseStage(t *testing.T) *lab {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc, which the race detector needs")
	}
	files := map[string]string{".gitignore": "*.db\n.lab/\n"}
	dir := os.DirFS(filepath.Join("..", "internal", "exercise", "testdata", "checkout"))
	err := fs.WalkDir(dir, ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(dir, path)
		files[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return workspace(t, files)
}

const sumFile = "01-one/platformservice/sum.go"

// solveWith writes what Sum returns.
func solveWith(t *testing.T, l *lab, result string) {
	t.Helper()
	put(t, l, map[string]string{sumFile: "package platformservice\n\nfunc Sum(a, b int) int {\n\treturn " + result + "\n}\n"})
}

// said returns what lab has printed since it was last asked.
func said(l *lab) string {
	defer l.out.(*bytes.Buffer).Reset()
	return l.out.(*bytes.Buffer).String()
}

func TestCheckSaysWhichItemsHold(t *testing.T) {
	l := exerciseStage(t)
	for _, test := range []struct {
		result string
		failed bool
		want   []string
	}{
		{"0", true, []string{
			"FAIL Two positive numbers are added: TestPositive\n         Sum(1, 2) is 0, want 3 (exercise_add_test.go:9)\n",
			"FAIL Negative ones are, too: TestNegative\n         both: Sum(-1, -2) is 0, want -3 (exercise_add_test.go:16)\n",
			"-v shows everything that the tests print. The tests are in:\n  01-one/exercises/add\n",
			"0 of 2 hold.", "lab hint 01-one add\n",
		}},
		{"max(a+b, 0)", true, []string{"ok   Two positive", "FAIL Negative", "1 of 2 hold."}},
		{"c", true, []string{"FAIL 01-one/platformservice/sum.go:4:9: undefined: c\n", "?    Two positive", "0 of 2 hold."}},
		{"a + [2]int{}[a+b]", true, []string{"FAIL panic: runtime error: index out of range [3] with length 2", "\n         at 01-one/platformservice/sum.go:4\n", "?    Negative"}},
		{"a + b", false, []string{"ok   Two positive", "ok   Negative", "2 of 2 hold. Passed."}},
	} {
		solveWith(t, l, test.result)
		err := l.do(t.Context(), "check", "01", "add")
		text := said(l)
		if errors.Is(err, errReported) != test.failed || err != nil && !test.failed {
			t.Errorf("return %s: error: %v", test.result, err)
		}
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("return %s: it does not say %q:\n%s", test.result, want, text)
			}
		}
		requireNarrow(t, "check", text)
		if strings.Contains(text, "=== RUN") || strings.Contains(text, "--- FAIL") {
			t.Errorf("it shows go test's own output:\n%s", text)
		}
	}
	if left, err := repo.Git(t.Context(), l.root, "status", "--porcelain"); err != nil || left != " M "+sumFile+"\n" {
		t.Errorf("it leaves %q (error: %v)", left, err)
	}
	// a later failure does not take it back
	solveWith(t, l, "0")
	if err := l.do(t.Context(), "check", "01", "add"); !errors.Is(err, errReported) {
		t.Errorf("error: %v", err)
	}
	said(l)
	if err := l.do(t.Context(), "progress", "--json"); err != nil {
		t.Fatal(err)
	}
	var lines []struct {
		State    string
		Checks   int
		PassedAt string `json:"passed_at"`
	}
	if err := json.Unmarshal([]byte(said(l)), &lines); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 1 || lines[0].State != "passed" || lines[0].Checks != 6 || lines[0].PassedAt == "" {
		t.Errorf("progress: %+v", lines)
	}
}

func TestUsageOfExercises(t *testing.T) {
	l := exerciseStage(t)
	for _, test := range []struct{ args, want string }{
		{"check 01 ad", "01-one has no exercise ad; did you mean add?"},
		{"check 01 other", "its exercises are add"},
		{"hint 02 add", "02-two has no exercises"},
		{"check 01 add --cluster", "01-one add has no tests for a cluster"},
		{"check 01 --cluster --platforms-url x", "not both"},
		{"check 01 add --platforms-url x", "not for an exercise"},
	} {
		err := l.do(t.Context(), strings.Fields(test.args)...)
		if !errors.As(err, new(usageError)) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("lab %s: error: %v, want one that says %q", test.args, err, test.want)
		}
	}
	if err := l.do(t.Context(), "check", "01"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "01-one\n  add                  not begun         0 of 2 hints  easy, about 1 minute\n      two numbers are added\n") {
		t.Errorf("check 01 lists:\n%s", text)
	}
}

func TestHintsAreShownOneByOne(t *testing.T) {
	l := exerciseStage(t)
	for _, want := range []string{"Hint 1 of 2\n\nLook at the result.\n\n", "Hint 2 of 2\n\nThere is an operator for it.\n\n", "You have seen all 2 hints"} {
		if err := l.do(t.Context(), "hint", "01", "add"); err != nil {
			t.Fatal(err)
		}
		if text := said(l); !strings.HasPrefix(text, want) || strings.Count(text, "Hint") > 1 {
			t.Errorf("it says %q, want %q", text, want)
		}
	}
	if err := l.do(t.Context(), "hint", "01", "add", "--all"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "Look at") || !strings.Contains(text, "operator") {
		t.Errorf("--all says %q", text)
	}
}

func TestHintsAfterPassingDoNotCount(t *testing.T) {
	l := exerciseStage(t)
	solveWith(t, l, "a + b")
	if err := l.do(t.Context(), "check", "01", "add"); err != nil {
		t.Fatal(err)
	}
	said(l)
	if err := l.do(t.Context(), "hint", "01", "add"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "Look at") || !strings.Contains(text, "operator") {
		t.Errorf("it says %q", text)
	}
	if err := l.do(t.Context(), "hint", "01"); err != nil { // the exercises
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, " passed            0 of 2 hints") {
		t.Errorf("it says %q", text)
	}
}

func TestHintsFitATerminal(t *testing.T) {
	l := exerciseStage(t)
	hints := filepath.Join(l.root, "01-one", "exercises", "add", "hints.md")
	if err := os.WriteFile(hints, []byte("## Hint 1\n\n"+strings.Repeat("Look at the result. ", 6)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := l.do(t.Context(), "hint", "01", "add"); err != nil {
		t.Fatal(err)
	}
	requireNarrow(t, "hint", said(l))
}

func TestCodeInHintsIsIndented(t *testing.T) {
	text := "Send:\n\n```go sketch\nselect {\n\n\tdefault:\n}\n```\n\nA `nil` channel."
	want := "Send:\n\n    select {\n\n    \tdefault:\n    }\n\nA `nil` channel."
	if got := indentCode(text); got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

// gitState is HEAD and the index.
func gitState(t *testing.T, l *lab) string {
	t.Helper()
	head, err := repo.Git(t.Context(), l.root, "rev-parse", "HEAD", "--symbolic-full-name", "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	index, err := repo.Git(t.Context(), l.root, "ls-files", "--stage")
	if err != nil {
		t.Fatal(err)
	}
	return head + index
}

// savedBranch is the branch that reset has named.
func savedBranch(t *testing.T, text string) string {
	t.Helper()
	_, rest, found := strings.Cut(text, "git restore --source=")
	branch, _, _ := strings.Cut(rest, " ")
	if !found || !strings.HasPrefix(branch, "lab/01-add-") {
		t.Fatalf("it names no branch: %s", text)
	}
	return branch
}

func TestASolutionThatBreaksTheStagesOwnTestsIsNotPassed(t *testing.T) {
	l := exerciseStage(t)
	files := map[string]string{
		"01-one/caller/caller.go":      "// Package caller adds.\npackage caller\n\nimport \"microcomm/01-one/platformservice\"\n\n// Three is one and two.\nfunc Three() int { return platformservice.Sum(1, 2) }\n",
		"01-one/caller/caller_test.go": "package caller\n\nimport \"testing\"\n\nfunc TestThree(t *testing.T) { _ = Three() }\n",
		"01-one/apart/apart_test.go":   "package apart\n\nimport \"testing\"\n\nfunc TestApart(t *testing.T) { t.Error(\"fails, but depends on nothing\") }\n",
		"01-one/e2e/e2e_test.go":       "package e2e\n\nimport \"testing\"\n\nfunc TestSlow(t *testing.T) { t.Error(\"fails\") }\n",
	}
	put(t, l, files)
	if _, err := repo.Git(t.Context(), l.root, "add", "."); err != nil {
		t.Fatal(err)
	}
	if _, err := repo.Git(t.Context(), l.root, "commit", "--quiet", "--message", "second"); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		source string // of Sum
		failed bool
		want   []string
	}{
		"they pass": {"func Sum(a, b int) int {\n\treturn a + b\n}\n", false,
			[]string{"  ok   the stage's own tests (caller, platformservice)\n", "2 of 2 hold. Passed."}},
		"one fails": {"func Sum(a, b int) int {\n\tif a == 0 {\n\t\treturn 1\n\t}\n\treturn a + b\n}\n", true,
			[]string{"  FAIL the stage's own tests\n         platformservice TestSumOfNothing\n         go tool lab test 01 shows more\n", "2 of 2 hold. Not passed"}},
		"a caller does not compile": {"func Sum(a, b int) int64 {\n\treturn int64(a + b)\n}\n", true,
			[]string{"  FAIL the stage's own tests\n         01-one/caller/caller.go:7:27: cannot use", "2 of 2 hold. Not passed"}},
	} {
		put(t, l, map[string]string{sumFile: "package platformservice\n\n" + test.source})
		err := l.do(t.Context(), "check", "01", "add")
		text := said(l)
		if errors.Is(err, errReported) != test.failed || err != nil && !test.failed {
			t.Errorf("%s: error: %v", name, err)
		}
		for _, want := range test.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it does not say %q:\n%s", name, want, text)
			}
		}
	}
}

func TestResetSavesTheWorkOnABranch(t *testing.T) {
	l := exerciseStage(t)
	original, hints, readme := content(t, l, sumFile), content(t, l, "01-one/exercises/add/hints.md"), content(t, l, "01-one/README.md")
	solveWith(t, l, "1 // staged")
	if _, err := repo.Git(t.Context(), l.root, "add", "."); err != nil {
		t.Fatal(err)
	}
	solveWith(t, l, "2 // not staged")
	if err := l.do(t.Context(), "hint", "01", "add"); err != nil {
		t.Fatal(err)
	}
	said(l)
	put(t, l, map[string]string{
		"01-one/new/deep.go":            "package deep\n",
		"01-one/exercises/add/hints.md": "edited\n", // like the manifests that have to be fixed
		"01-one/data.db":                "ignored\n",
		"01-one/exercises/x/notes":      "of the learner\n",
		"02-two/README.md":              "# Two, edited\n",
	})
	if err := os.Remove(filepath.Join(l.root, "01-one", "README.md")); err != nil {
		t.Fatal(err)
	}
	before := gitState(t, l)
	if err := l.do(t.Context(), "reset", "01"); err != nil {
		t.Fatal(err)
	}
	if after := gitState(t, l); after != before {
		t.Errorf("HEAD or the index has changed: %s\n%s", before, after)
	}
	text := said(l)
	savedBranch(t, text)
	for path, want := range map[string]string{
		sumFile:                         original,
		"01-one/exercises/add/hints.md": hints,
		"01-one/README.md":              readme,
		"01-one/data.db":                "ignored\n",
		"01-one/exercises/x/notes":      "of the learner\n",
		"02-two/README.md":              "# Two, edited\n",
	} {
		if got := content(t, l, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if l.stages[0].Has("new") {
		t.Error("01-one/new is still there")
	}
	if err := l.do(t.Context(), "reset", "01"); err != nil || !strings.Contains(said(l), "nothing to do") {
		t.Errorf("a second time: %v", err)
	}
	// the commands that it names, where the learner is
	commands := regexp.MustCompile(`(?m)^  git (.+)$`).FindAllStringSubmatch(text, -1)
	if len(commands) != 2 {
		t.Fatalf("it says %s", text)
	}
	for i, want := range []string{"+\treturn 2 // not staged", ""} {
		if printed, err := repo.Git(t.Context(), l.stages[0].Dir, strings.Fields(commands[i][1])...); err != nil || !strings.Contains(printed, want) {
			t.Fatalf("git %s prints %q (error: %v)", commands[i][1], printed, err)
		}
	}
	if got := content(t, l, sumFile) + content(t, l, "01-one/exercises/add/hints.md"); !strings.Contains(got, "2 // not staged") || !strings.HasSuffix(got, "edited\n") {
		t.Errorf("what is got back is %q", got)
	}
	if !l.stages[0].Has("new/deep.go") || l.stages[0].Has("README.md") {
		t.Error("new/deep.go is not got back, or README.md is")
	}
}

func TestResetAfterCommits(t *testing.T) {
	instructor := exerciseStage(t)
	original := content(t, instructor, sumFile)
	clone := filepath.Join(t.TempDir(), "clone")
	if _, err := repo.Git(t.Context(), instructor.root, "clone", "--quiet", ".", clone); err != nil {
		t.Fatal(err)
	}
	l := &lab{root: clone, out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	var err error
	if l.stages, err = repo.Stages(clone); err != nil {
		t.Fatal(err)
	}
	solveWith(t, l, "1 // committed")
	if _, err := repo.Git(t.Context(), clone, "-c", "user.name=L", "-c", "user.email=l@localhost", "commit", "--quiet", "--all", "--message", "mine"); err != nil {
		t.Fatal(err)
	}
	before := gitState(t, l)
	if err := l.do(t.Context(), "reset", "01"); err != nil {
		t.Fatal(err)
	}
	if got := content(t, l, sumFile); got != original {
		t.Errorf("it is %q", got)
	}
	if gitState(t, l) != before {
		t.Error("HEAD or the index has changed")
	}
	if err := l.do(t.Context(), "reset", "01", "--to", "HEAD"); err != nil {
		t.Fatal(err)
	}
	if got := content(t, l, sumFile); !strings.Contains(got, "1 // committed") {
		t.Errorf("reset to HEAD, it is %q", got)
	}
}

func TestSolutionIsAppliedToTheOriginalStage(t *testing.T) {
	l := exerciseStage(t)
	if err := l.do(t.Context(), "solution", "01", "add"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "+\treturn a + b\n") {
		t.Errorf("it shows %q", text)
	}
	solveWith(t, l, "1 // mine")
	if err := l.do(t.Context(), "solution", "01", "add", "--apply"); err != nil {
		t.Fatal(err)
	}
	branch := savedBranch(t, said(l))
	if got := content(t, l, sumFile); !strings.Contains(got, "// Sum adds a and b.\n") || !strings.Contains(got, "return a + b\n") {
		t.Errorf("it is %q", got)
	}
	if saved, err := repo.Git(t.Context(), l.root, "show", branch+":"+sumFile); err != nil || !strings.Contains(saved, "1 // mine") {
		t.Errorf("saved: %q (error: %v)", saved, err)
	}
	// a solution that does not apply changes nothing
	solveWith(t, l, "2 // mine")
	put(t, l, map[string]string{"01-one/exercises/add/solution.patch": strings.Replace(content(t, l, "01-one/exercises/add/solution.patch"), "return 0", "return 9", 1)})
	if err := l.do(t.Context(), "solution", "01", "add", "--apply"); err == nil {
		t.Error("a solution that does not apply is no error")
	}
	if got := content(t, l, sumFile); !strings.Contains(got, "2 // mine") {
		t.Errorf("it is %q", got)
	}
}

func TestASolutionThatWasAppliedIsNotPassed(t *testing.T) {
	l := exerciseStage(t)
	state := func() string {
		t.Helper()
		said(l)
		if err := l.do(t.Context(), "progress", "01", "--json"); err != nil {
			t.Fatal(err)
		}
		var lines []struct{ State string }
		if err := json.Unmarshal([]byte(said(l)), &lines); err != nil || len(lines) != 1 {
			t.Fatalf("%d exercises (error: %v)", len(lines), err)
		}
		return lines[0].State
	}
	if err := l.do(t.Context(), "solution", "01", "add", "--apply"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "solution applied" {
		t.Errorf("after --apply it is %s", got)
	}
	if err := l.do(t.Context(), "check", "01", "add"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "2 of 2 hold. This is the solution") || strings.Contains(text, "Passed") {
		t.Errorf("it says %s", text)
	}
	if got := state(); got != "solution applied" {
		t.Errorf("after its check it is %s", got)
	}
	// another way to do it, of the learner's own
	if err := l.do(t.Context(), "reset", "01"); err != nil {
		t.Fatal(err)
	}
	solveWith(t, l, "b + a")
	if err := l.do(t.Context(), "check", "01", "add"); err != nil {
		t.Fatal(err)
	}
	if got := state(); got != "passed" {
		t.Errorf("after a solution of the learner's own it is %s", got)
	}
}

// A learner who has fallen behind gets to a known state by one of two commands.
func TestResetAndSolutionLeadToAKnownState(t *testing.T) {
	l := exerciseStage(t)
	original := content(t, l, sumFile)
	for _, mess := range []string{"1 // mine", "does not compile ("} {
		put(t, l, map[string]string{sumFile: mess, "01-one/platformservice/more.go": "package x\n"})
		if err := l.do(t.Context(), "solution", "01", "add", "--apply"); err != nil {
			t.Fatal(err)
		}
		if got := content(t, l, sumFile); !strings.Contains(got, "return a + b\n") || l.stages[0].Has("platformservice/more.go") {
			t.Errorf("with the solution it is %q", got)
		}
		if err := l.do(t.Context(), "reset", "01"); err != nil {
			t.Fatal(err)
		}
		if got := content(t, l, sumFile); got != original {
			t.Errorf("after reset it is %q", got)
		}
	}
}

func TestProgressFitsATerminal(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{root: root, out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	if l.stages, err = repo.Stages(root); err != nil {
		t.Fatal(err)
	}
	if err := l.do(t.Context(), "progress"); err != nil {
		t.Fatal(err)
	}
	requireNarrow(t, "progress", said(l))
}

func TestWatchChecksAgainAfterASave(t *testing.T) {
	l := exerciseStage(t)
	out := &syncBuffer{}
	l.out = out
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- l.do(ctx, "watch", "01", "add") }()
	waitFor(t, "the first check", func() bool { return strings.Contains(out.String(), "0 of 2 hold") })
	waitFor(t, "its end", func() bool { return strings.Contains(out.String(), "Ctrl-C ends it") })
	solveWith(t, l, "a + b")
	waitFor(t, "the second check", func() bool { return strings.Contains(out.String(), "2 of 2 hold") })
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
}

// deltaStages are two stages whose table "What changes" is true, with a twin each.
func deltaStages(t *testing.T) *lab {
	t.Helper()
	files := map[string]string{
		"02-two/platformservice/rest.go": "package platformservice // of 02\n",
		"02-two/README.md":               "# Two\n\n## What changes\n\n| changes | `platformservice/rest.go` | a reason |\n",
		"01-one/platformservice/rest.go": "package platformservice\n",
		"02-two/exercises/x/README.md":   "# x\n",
	}
	for _, stage := range []string{"01-one", "02-two"} {
		for _, service := range []string{"platformservice", "commandsservice"} {
			files[stage+"/"+service+"/json.go"] = "package " + service + "\n"
		}
	}
	return workspace(t, files)
}

func TestEditsOfAStageDoNotFailTheNext(t *testing.T) {
	l := deltaStages(t)
	put(t, l, map[string]string{"01-one/platformservice/new.go": "package platformservice\n", "01-one/platformservice/rest.go": "package platformservice // of 02\n"})
	if err := checkDelta(t.Context(), l.root, l.stages[0], l.stages[1]); err == nil {
		t.Error("without a stage, lab test must see the edits")
	}
	if err := checkEditedDelta(t.Context(), l.root, l.stages[0], l.stages[1]); err != nil {
		t.Errorf("error: %v", err)
	}
	// a table that was wrong before stays wrong
	put(t, l, map[string]string{"02-two/README.md": content(t, l, "02-two/README.md") + "| adds | `nowhere.go` | a reason |\n"})
	err := checkEditedDelta(t.Context(), l.root, l.stages[0], l.stages[1])
	if err == nil || errors.As(err, new(editsError)) || !strings.Contains(err.Error(), "nowhere.go") || strings.Contains(err.Error(), "new.go") {
		t.Errorf("error: %v", err)
	}
}

func TestEditsOfAStageAreNamedAsTheReason(t *testing.T) {
	l := deltaStages(t)
	put(t, l, map[string]string{"02-two/platformservice/json.go": "package platformservice\n\nvar edited = 1\n"})
	count := tally{}
	test := &tester{lab: l}
	test.check(&count, "what changes", test.checkDelta(t.Context(), l.stages[0], l.stages[1]))
	test.check(&count, "twins", test.checkTwins(t.Context(), l.stages[1]))
	test.rows = []row{{"02-two", count, 0}}
	if err := test.summary(); !errors.Is(err, errReported) || count.failed != 2 {
		t.Errorf("error: %v, counted %+v", err, count)
	}
	text := said(l)
	for _, want := range []string{
		"does not list that the stage changes platformservice/json.go",
		"It fails because of these edits, and says nothing about how they work: platformservice/json.go\n",
		"Failed only because a stage was edited: what changes, twins. The tests of its behaviour pass.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	// with a test that fails, too, the edits are not all
	count.failed++
	test.rows = []row{{"02-two", count, 0}}
	if err := test.summary(); !errors.Is(err, errReported) {
		t.Errorf("error: %v", err)
	}
	if text := said(l); strings.Contains(text, "Failed only because") || !strings.Contains(text, "Failed because a stage was edited: what changes, twins. The other failures, 1, say that something does not work.") {
		t.Errorf("with another failure it says:\n%s", text)
	}
	// committed, so not an edit: a plain failure
	if _, err := repo.Git(t.Context(), l.root, "commit", "--quiet", "--all", "--message", "second"); err != nil {
		t.Fatal(err)
	}
	if err := test.checkDelta(t.Context(), l.stages[0], l.stages[1]); err == nil || errors.As(err, new(editsError)) {
		t.Errorf("error: %v", err)
	}
}

func TestExercisesBelongToNoStage(t *testing.T) {
	l := deltaStages(t)
	put(t, l, map[string]string{"01-one/exercises/y/exercise_test.go": "//go:build exercise\n\npackage platformservice\n"})
	if err := checkDelta(t.Context(), l.root, l.stages[0], l.stages[1]); err != nil {
		t.Errorf("the delta: %v", err)
	}
	if err := l.do(t.Context(), "forward", "01"); err != nil {
		t.Fatal(err)
	}
	if text := said(l); !strings.Contains(text, "nothing to carry") || l.stages[1].Has("exercises/y") {
		t.Errorf("forward: %s", text)
	}
	if version, err := stageVersion(t.Context(), l.root, l.stages[0]); err != nil || strings.Contains(version, "changes") {
		t.Errorf("the version of an image is %q (error: %v)", version, err)
	}
}

// An image's build sees nothing of a stage but what .dockerignore names.
func TestExercisesAreInNoImage(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("..", "..", "..", "*", "Dockerfile"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no Dockerfile (error: %v)", err)
	}
	for _, file := range found {
		content, err := os.ReadFile(filepath.Join(filepath.Dir(file), ".dockerignore"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(content), "\n*\n") || strings.Contains(string(content), "!exercises") || strings.Contains(string(content), "!*") {
			t.Errorf("%s/.dockerignore does not leave out exercises/", filepath.Dir(file))
		}
	}
}
