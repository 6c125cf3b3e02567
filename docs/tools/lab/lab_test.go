package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

// workspace is a small checkout under git: 01-one and 02-two as given, by path.
func workspace(t *testing.T, files map[string]string) *lab {
	t.Helper()
	root := t.TempDir()
	l := &lab{root: root, out: &bytes.Buffer{}, err: &bytes.Buffer{}}
	put(t, l, map[string]string{
		"docs/go.mod":      "module microcomm/docs\n",
		"01-one/go.mod":    "module microcomm/01-one\n",
		"02-two/go.mod":    "module microcomm/02-two\n",
		"03-three/go.mod":  "module microcomm/03-three\n",
		"01-one/README.md": "# One\n",
		"02-two/README.md": "# Two\n",
	})
	put(t, l, files)
	for _, args := range [][]string{
		{"init", "--quiet"},
		{"config", "user.name", "Tester"},
		{"config", "user.email", "tester@localhost"},
		{"config", "core.autocrlf", "false"},
		{"add", "."},
		{"commit", "--quiet", "--message", "first"},
	} {
		if _, err := repo.Git(t.Context(), root, args...); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if l.stages, err = repo.Stages(root); err != nil {
		t.Fatal(err)
	}
	return l
}

func put(t *testing.T, l *lab, files map[string]string) {
	t.Helper()
	for path, content := range files {
		file := filepath.Join(l.root, filepath.FromSlash(path))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func content(t *testing.T, l *lab, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(l.root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestDeltaCheck(t *testing.T) {
	const table = "# Two\n\n## What changes\n\n| | file | why |\n|---|---|---|\n"
	for name, test := range map[string]struct {
		rows string
		want []string // in the error; none: there is no error
	}{
		"true": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n| removes | `gone.go` | a reason |\n",
		},
		"something is not listed": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n",
			want: []string{"does not list that the stage removes gone.go"},
		},
		"something listed is not so": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n| removes | `gone.go` | a reason |\n| changes | `same.go` | a reason |\n",
			want: []string{"lists same.go, but it is the same as in 01-one"},
		},
		"both, and a wrong verb": {
			rows: "| changes | `new.go` | a reason |\n| removes | `gone.go` | a reason |\n| adds | `nowhere.go` | a reason |\n",
			want: []string{"says that the stage changes new.go, but it adds it", "the stage changes edited.go", "lists nowhere.go"},
		},
		"the tests in one row": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n| removes | `gone.go` | a reason |\n| changes | `*_test.go` | a reason |\n",
		},
		"a row for tests that are the same": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n| removes | `gone.go` | a reason |\n| changes | `*_test.go` | a reason |\n",
			want: []string{"lists *_test.go, but it is the same as in 01-one"},
		},
		"a row for tests that has another verb": {
			rows: "| adds | `new.go` | a reason |\n| changes | `edited.go` | a reason |\n| removes | `gone.go` | a reason |\n| adds | `*_test.go` | a reason |\n",
			want: []string{"says that the stage adds *_test.go, but it changes it"},
		},
		"no reason":      {rows: "| adds | `new.go` | |\n", want: []string{"the last with the reason"}},
		"unknown verb":   {rows: "| renames | `new.go` | a reason |\n", want: []string{"must begin with adds"}},
		"nothing at all": {rows: "", want: []string{"lists nothing"}},
	} {
		t.Run(name, func(t *testing.T) {
			l := workspace(t, map[string]string{
				"01-one/same.go":   "package x // microcomm/01-one/x\n",
				"02-two/same.go":   "package x // microcomm/02-two/x\n", // the same but for its module's name
				"01-one/edited.go": "package x\n",
				"02-two/edited.go": "package x // edited\n",
				"01-one/gone.go":   "package x\n",
				"02-two/go.sum":    "not compared\n",
				"02-two/README.md": table + test.rows + "\n## Run it\n",
				".gitignore":       "*.db\n",
			})
			put(t, l, map[string]string{"02-two/new.go": "package x\n", "02-two/left.db": "not of the repository\n"})
			if strings.Contains(test.rows, allTests) && !strings.Contains(name, "the same") {
				put(t, l, map[string]string{"02-two/x/new_test.go": "package x\n", "02-two/edited_test.go": "package x\n"})
			}
			err := checkDelta(t.Context(), l.root, l.stages[0], l.stages[1])
			if (err == nil) != (len(test.want) == 0) {
				t.Fatalf("error: %v", err)
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func TestForwardCarriesAFix(t *testing.T) {
	const text = "one\ntwo\nthree\nfour\nfive\nsix\n"
	l := workspace(t, map[string]string{
		"01-one/a.go":   "package a // microcomm/01-one\n" + text,
		"02-two/a.go":   "package a // microcomm/02-two\n" + text,
		"03-three/a.go": "package a // microcomm/03-three\n" + text + "seven, of the third stage\n",
		"01-one/b.go":   "package b\n",
		"02-two/b.go":   "package b\n",
		"03-three/c.go": "package c\n",
	})
	fixed := strings.Replace(text, "two", "2", 1)
	put(t, l, map[string]string{
		"01-one/a.go":      "package a // microcomm/01-one\n" + fixed,
		"01-one/d.go":      "package d // microcomm/01-one\n",
		"01-one/README.md": "# One, better\n",
	})
	if err := os.Remove(filepath.Join(l.root, "01-one", "b.go")); err != nil {
		t.Fatal(err)
	}
	if err := l.do(t.Context(), "forward", "--dry-run", "01"); err != nil {
		t.Fatal(err)
	}
	if changed, err := repo.Git(t.Context(), l.root, "status", "--porcelain", "02-two", "03-three"); err != nil || changed != "" {
		t.Fatalf("a dry run changed %s (error: %v)", changed, err)
	}
	if err := l.do(t.Context(), "forward", "01"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"02-two/a.go":      "package a // microcomm/02-two\n" + fixed,
		"03-three/a.go":    "package a // microcomm/03-three\n" + fixed + "seven, of the third stage\n",
		"02-two/d.go":      "package d // microcomm/02-two\n",
		"03-three/d.go":    "package d // microcomm/03-three\n",
		"03-three/c.go":    "package c\n",
		"02-two/README.md": "# Two\n",
	} {
		if got := content(t, l, path); got != want {
			t.Errorf("%s is %q, want %q", path, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(l.root, "02-two", "b.go")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("02-two/b.go is still there (error: %v)", err)
	}
}

func TestForwardFollowsAMovedFile(t *testing.T) {
	const text = "one\ntwo\nthree\nfour\nfive\nsix\n"
	l := workspace(t, map[string]string{
		"01-one/k8s/a.yml":        text,
		"02-two/k8s/base/a.yml":   text + "seven\n",
		"03-three/k8s/base/a.yml": text + "seven\n",
		"01-one/k8s/b.yml":        "b\n",
	})
	fixed := strings.Replace(text, "two", "2", 1)
	put(t, l, map[string]string{"01-one/k8s/a.yml": fixed, "01-one/k8s/b.yml": "b, fixed\n"})
	if err := l.do(t.Context(), "forward", "01"); err != nil {
		t.Fatal(err)
	}
	for _, stage := range []string{"02-two", "03-three"} {
		if got := content(t, l, stage+"/k8s/base/a.yml"); got != fixed+"seven\n" {
			t.Errorf("%s/k8s/base/a.yml is %q", stage, got)
		}
		if stages := l.stages; stages[1].Has("k8s/a.yml") || stages[1].Has("k8s/b.yml") {
			t.Error("a file that the stage has moved or removed is back")
		}
	}
	said := l.out.(*bytes.Buffer).String()
	for _, want := range []string{"k8s/a.yml: merged into k8s/base/a.yml\n", "k8s/b.yml: absent here, skipped\n"} {
		if strings.Count(said, want) != 2 {
			t.Errorf("it does not say %q of both stages: %s", want, said)
		}
	}
}

func TestForwardStopsAtAConflictAndContinues(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/a.go":   "package a\nvar a = 1\n",
		"02-two/a.go":   "package a\nvar a = 2\n",
		"03-three/a.go": "package a\nvar a = 2\n",
	})
	put(t, l, map[string]string{"01-one/a.go": "package a\nvar a = 9\n"})
	if err := l.do(t.Context(), "forward", "01"); !errors.Is(err, errReported) {
		t.Fatalf("error: %v", err)
	}
	if got := content(t, l, "02-two/a.go"); !strings.Contains(got, "<<<<<<< 02-two\nvar a = 2\n") || !strings.Contains(got, ">>>>>>> 01-one") {
		t.Errorf("02-two/a.go has no conflict marks: %q", got)
	}
	if got := content(t, l, "03-three/a.go"); got != "package a\nvar a = 2\n" {
		t.Errorf("03-three/a.go was touched: %q", got)
	}
	said := l.out.(*bytes.Buffer).String()
	_, command, found := strings.Cut(said, "go tool lab forward ")
	if !found {
		t.Fatalf("it does not say how to continue: %s", said)
	}
	put(t, l, map[string]string{"02-two/a.go": "package a\nvar a = 29\n"})
	if err := l.do(t.Context(), append([]string{"forward"}, strings.Fields(command)...)...); err != nil {
		t.Fatal(err)
	}
	if got := content(t, l, "03-three/a.go"); got != "package a\nvar a = 29\n" {
		t.Errorf("03-three/a.go is %q", got)
	}
}

func TestDiffFoldsModulePaths(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/same.go":           "package x // microcomm/01-one/x\n",
		"02-two/same.go":           "package x // microcomm/02-two/x\n",
		"02-two/added.go":          "package x\n\nvar added = 1\n",
		"02-two/proto/x.pb.go":     "package proto\n\nvar generated = 1\n",
		"02-two/go.sum":            "sum\n",
		"02-two/exercises/e/e.go":  "package e\n",
		"02-two/deep/down/file.go": "package down\n",
	})
	if err := l.do(t.Context(), "diff", "02"); err != nil {
		t.Fatal(err)
	}
	text := l.out.(*bytes.Buffer).String()
	for _, want := range []string{"+++ b/added.go", "+var added = 1", "2 files changed", "b/deep/down/file.go", "proto/x.pb.go"} {
		if !strings.Contains(text, want) {
			t.Errorf("the diff lacks %q", want)
		}
	}
	for _, unwanted := range []string{"same.go", "+sum", "exercises/e", "# Two", "generated = 1", "go.mod"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the diff shows %q", unwanted)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestHelpShowsTheFlagsAndArgumentsOfAVerb(t *testing.T) {
	for _, args := range [][]string{{"help", "test"}, {"test", "-h"}, {"test", "06", "--help"}} {
		var out bytes.Buffer
		if err := dispatch(t.Context(), args, &out, &bytes.Buffer{}); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"Usage: go tool lab test", "[--run RE]", "[STAGE…]", "  --no-broker  skip the tests"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("lab %s does not show %q:\n%s", strings.Join(args, " "), want, out.String())
			}
		}
	}
}

func TestHelpFitsATerminal(t *testing.T) {
	topics := [][]string{nil}
	for _, v := range verbs() {
		topics = append(topics, []string{v.name})
	}
	for _, topic := range topics {
		var out bytes.Buffer
		if err := help(&out, topic); err != nil {
			t.Fatal(err)
		}
		requireNarrow(t, "help "+strings.Join(topic, " "), out.String())
	}
}

// requireNarrow fails for a line that a terminal of 80 columns would break.
func requireNarrow(t *testing.T, what, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > layout.Width {
			t.Errorf("%s: a line of %d columns: %s", what, n, line)
		}
	}
}

// lessonStages are two stages with one of everything that diff treats specially.
func lessonStages(t *testing.T) *lab {
	t.Helper()
	const problem = "\n\n// problem is what goes wrong.\nfunc problem() string {\n\treturn \"a problem\"\n}\n"
	const long = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\n"
	return workspace(t, map[string]string{
		"01-one/a/problem.go":       "package a" + problem,
		"01-one/a/service.go":       "package a\n",
		"01-one/k8s/old.yml":        "kind: Old\n",
		"01-one/k8s/moved.yml":      long,
		"01-one/gone.txt":           "gone\n",
		"02-two/a/problem.go":       "package a" + problem,
		"02-two/a/service.go":       "package a\n\nvar started bool\n",
		"02-two/a/zebra.go":         "package a\n\nvar zebra = 1\n",
		"02-two/b/problem.go":       "// Package b is the second.\npackage b" + problem,
		"02-two/b/twin.go":          "package b\n\nvar twin = 1\n",
		"02-two/c/problem.go":       "package c" + problem,
		"02-two/c/twin.go":          "package c\n\nvar twin = 1\n",
		"02-two/c/a_test.go":        "package c\n\nvar test = 1\n",
		"02-two/k8s/old.yml":        "kind: New\n",
		"02-two/k8s/deep/moved.yml": long,
		"02-two/schema.sql":         "CREATE TABLE t (id INT);\n",
		"02-two/go.mod":             "module microcomm/02-two\n\nrequire example.org/direct v1.0.0\n\nrequire (\n\texample.org/other v1.0.0 // indirect\n)\n",
		"02-two/README.md": "# Two\n\n## What changes\n\n### The code\n\n" + strings.ReplaceAll(
			"| changes | a/service.go |\n| adds | c/twin.go |\n| adds | b/twin.go |\n| adds | a/zebra.go |\n| adds | b/problem.go |\n| adds | c/problem.go |\n| adds | c/a_test.go |\n", ".go |", ".go | why |") +
			"\n### Manifests\n\n| changes | `a/service.go` | why |\n| changes | `k8s/old.yml` | why |\n\n## Run it\n",
	})
}

// diffOf is what lab diff prints.
func diffOf(t *testing.T, l *lab, args ...string) string {
	t.Helper()
	l.out.(*bytes.Buffer).Reset()
	if err := l.do(t.Context(), append([]string{"diff"}, args...)...); err != nil {
		t.Fatal(err)
	}
	return l.out.(*bytes.Buffer).String()
}

func TestDiffIsInReadingOrder(t *testing.T) {
	text := diffOf(t, lessonStages(t), "02", ".")
	at := 0
	for _, want := range []string{
		// the list, and then the same once more
		"\nchanged Go\n  a/service.go ", "\nnew Go\n  c/twin.go ", "  b/twin.go ", "  a/zebra.go ", "\nSQL and .proto\n  schema.sql ",
		"  k8s/old.yml ", "  gone.txt ", "removed\n", "\ngo.mod\n", "\ntests (shown with --tests)\n  c/a_test.go ",
		"+var started", "+++ b/c/twin.go", "\nb/twin.go: the same as c/twin.go, but for the package\n", "+++ b/a/zebra.go",
		"+CREATE TABLE", "+kind: New", "\ngone.txt: removed\n", "+require example.org/direct",
	} {
		next := strings.Index(text[at:], want)
		if next < 0 {
			t.Fatalf("%q is missing, or not in its place:\n%s", want, text)
		}
		at += next + len(want)
	}
	for _, want := range []string{"\nc/problem.go: the same as a/problem.go, but for the package\n", "\nk8s/deep/moved.yml: moved from k8s/moved.yml\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	for _, unwanted := range []string{"example.org/other", "require (", "-gone", "var test"} {
		if strings.Contains(text, unwanted) {
			t.Errorf("the diff shows %q", unwanted)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
}

func TestDiffOfOnePiece(t *testing.T) {
	l := lessonStages(t)
	for name, test := range map[string]struct {
		args     []string
		has, not string
	}{
		"all, with pieces":  {[]string{"02"}, "Pieces\n  The code   6 files changed, ", "+var zebra"},
		"a heading":         {[]string{"02", "the", "code"}, "+var zebra", "old.yml"},
		"part of a heading": {[]string{"02", "manif"}, "+kind: New", "zebra"},
		"the first of two":  {[]string{"02", "Code"}, "+var started", "shown with"},
		"of two headings":   {[]string{"02", "Manifests"}, "a/service.go: shown with The code\n", "+var started"},
		"another heading":   {[]string{"02", "Manifests"}, "+kind: New", "zebra"},
		"a part of a path":  {[]string{"02", "zebra"}, "+var zebra", "service.go"},
		"a twin alone":      {[]string{"02", "b/twin"}, "+var twin", "the same as"},
		"a folder":          {[]string{"02", "02-two/k8s"}, "+kind: New", "zebra"},
		"a pattern":         {[]string{"02", "*.sql"}, "+CREATE TABLE", "zebra"},
		"of two stages":     {[]string{"01", "02", "zebra"}, "+var zebra", "service.go"},
		"with tests":        {[]string{"--tests", "02", "c/"}, "+var test", "zebra"},
	} {
		t.Run(name, func(t *testing.T) {
			text := diffOf(t, l, test.args...)
			if !strings.Contains(text, test.has) || strings.Contains(text, test.not) {
				t.Errorf("want %q and not %q:\n%s", test.has, test.not, text)
			}
		})
	}
	err := l.do(t.Context(), "diff", "02", "Manifets")
	if err == nil || !strings.Contains(err.Error(), "02-two changes nothing called Manifets; did you mean Manifests?") {
		t.Errorf("error: %v", err)
	}
}

// Pieces in a separate page may share a file, declaration by declaration, and
// fold files that a first reading does without.
func TestDiffOfAPieceShowsItsDeclarations(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/store.go": "package x\n\nfunc old() {}\n",
		"02-two/store.go": "package x\n\ntype store struct{}\n\n// insert is new.\nfunc (s store) insert() {}\n\n// lease is new.\nfunc (s store) lease() {}\n",
		"02-two/relay.go": "package x\n\nvar relay = 1\n",

		"02-two/relay_test.go":   "package x\n\nvar beside = 1\n",
		"02-two/a/store_test.go": "package a\n\nvar elsewhere = 1\n",

		"01-one/loop.go":   "package x\n\nfunc a() {\n\tboth()\n\tone()\n\tfor {\n\t}\n}\n",
		"02-two/loop.go":   "package x\n\nfunc b() {\n\tboth()\n\ttwo()\n\tfor {\n\t}\n}\n",
		"02-two/moved.go":  "package x\n\nvar moved = 1\n",
		"02-two/README.md": "# Two\n",
		"02-two/PIECES.md": "# Pieces\n\n## What changes\n\n| changes | `*_test.go` | why |\n\n### Outbox\n\n| adds | `relay.go` | why |\n| changes | `store.go` | why |\n\n" +
			"<details><summary>moved</summary>\n\n| adds | `moved.go` | why |\n| changes | `loop.go` | why |\n\n</details>\n\n### Lease\n\n| changes | `store.go`: `store.lease` | why |\n| adds | `relay.go` | why |\n" +
			"\n### Loop\n\n| changes | `loop.go`: `b` | why |\n",
	})
	for piece, test := range map[string]struct{ has, not []string }{
		"Outbox":   {[]string{"+var relay", "+// insert is new", "+type store", "-func old", "moved.go  +3 -0 (folded)", "2 files changed, 8 lines added, 1 removed"}, []string{"lease", "var moved"}},
		"Lease":    {[]string{"+// lease is new", "+func (s store) lease", "relay.go: shown with Outbox", "1 file changed, 2 lines added, 0 removed"}, []string{"insert", "old", "+var relay"}},
		"Loop":     {[]string{"+func b() {\n \tboth()\n+\ttwo()\n \tfor {\n \t}\n }\n"}, []string{"func a", "one()"}}, // whole, though a was there
		"moved.go": {[]string{"+var moved"}, []string{"folded"}},
		"store.go": {[]string{"insert", "lease"}, nil},
	} {
		text := diffOf(t, l, "02", piece)
		for _, want := range test.has {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not show %q:\n%s", piece, want, text)
			}
		}
		for _, unwanted := range test.not {
			if strings.Contains(text, unwanted) {
				t.Errorf("%s shows %q:\n%s", piece, unwanted, text)
			}
		}
	}
	for _, test := range []struct {
		args  []string
		tests bool
	}{
		{[]string{"02", "Outbox"}, false},
		{[]string{"--tests", "02", "Outbox"}, true},
		{[]string{"--tests", "02", "Lease"}, false}, // shown with the first piece
	} {
		text := diffOf(t, l, test.args...)
		if strings.Contains(text, "+var beside") != test.tests || strings.Contains(text, "+var elsewhere") != test.tests {
			t.Errorf("%s: want tests: %v\n%s", test.args, test.tests, text)
		}
	}
	if text := diffOf(t, l, "--tests", "02", "relay.go"); !strings.Contains(text, "+var beside") {
		t.Errorf("a file without its tests:\n%s", text)
	}
	if text := diffOf(t, l, "02", "Outbox"); strings.Index(text, "+var relay") > strings.Index(text, "+type store") {
		t.Errorf("it is not in the order of the table:\n%s", text)
	}
	if err := checkDelta(t.Context(), l.root, l.stages[0], l.stages[1]); err != nil {
		t.Error(err)
	}
	put(t, l, map[string]string{"02-two/PIECES.md": strings.ReplaceAll(content(t, l, "02-two/PIECES.md"), "store.lease", "renew")})
	err := checkDelta(t.Context(), l.root, l.stages[0], l.stages[1])
	if err == nil || !strings.Contains(err.Error(), "02-two/PIECES.md lists renew in store.go, which does not declare it") {
		t.Errorf("error: %v", err)
	}
}

// A piece of final is read in ten minutes.
func TestThePiecesOfFinalAreShort(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	c, err := changes.Compare(t.Context(), root, stages[len(stages)-2], stages[len(stages)-1], false)
	if err != nil {
		t.Fatal(err)
	}
	c.NoteTwins()
	if len(c.Pieces) < 20 {
		t.Errorf("final has %d pieces", len(c.Pieces))
	}
	for _, piece := range c.Pieces {
		lines := 0
		for _, f := range c.Piece(piece) {
			if f.Shown(false) {
				lines += f.Added + f.Removed
			}
		}
		if lines > 300 {
			t.Errorf("%s shows %d lines", piece, lines)
		}
	}
}

// testdata/results.json is recorded from a module with each of these packages.
func TestResultsOfARecordedRun(t *testing.T) {
	recorded, err := os.Open(filepath.Join("testdata", "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer recorded.Close()
	var out bytes.Buffer
	results := newTestResults(&out, "microcomm/99-recorded", false)
	if err := results.read(recorded); err != nil {
		t.Fatal(err)
	}
	// failed: broken and vetted do not get to a test, exits passes its test and
	// fails in TestMain, two tests in good, one in panics
	want := tally{packages: 5, passed: 5, failed: 6, skipped: 2}
	got := results.total
	if got.packages != want.packages || got.passed != want.passed || got.failed != want.failed || got.skipped != want.skipped {
		t.Errorf("counted %+v, want %+v", got, want)
	}
	reasons := map[string]int{"SQLSERVER_URL is not set": 1, "RABBITMQ_URL is not set": 1}
	if !maps.Equal(got.reasons, reasons) {
		t.Errorf("the skips' reasons are %v, want %v", got.reasons, reasons)
	}
	for _, want := range []string{
		`cannot use "x" (untyped string constant) as int value`,
		"F passes lock by value",
		"FAIL good: TestTable/fails\n           good_test.go:9: want 1, have 2\n",
		"FAIL good: TestParentAlone\n",
		"panic: out of the blue",
		"FAIL exits: the package",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q", want)
		}
	}
	if strings.Contains(out.String(), "FAIL good: TestTable\n") {
		t.Error("it shows a test that fails only through a subtest")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestATestThatNeverEndedHasFailed(t *testing.T) {
	stream := `{"Action":"run","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestParent/one"}
{"Action":"pass","Package":"p","Test":"TestParent/one"}
{"Action":"pass","Package":"p","Test":"TestParent"}
{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: as far as it got\n"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`
	var out bytes.Buffer
	results := newTestResults(&out, "p", false)
	if err := results.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	if got := results.total; got.passed != 1 || got.failed != 2 {
		t.Errorf("counted %+v, want one passed (a test with a subtest is not counted), two failed", got)
	}
	if !strings.Contains(out.String(), "as far as it got") {
		t.Errorf("it does not show what the test printed: %s", out.String())
	}
}

func TestEachTestIsShownWithItsLastLogLine(t *testing.T) {
	stream := `{"Action":"run","Package":"p","Test":"TestAll"}
{"Action":"run","Package":"p","Test":"TestAll/one"}
{"Action":"output","Package":"p","Test":"TestAll/one","Output":"    a_test.go:7: 0 missing\n"}
{"Action":"pass","Package":"p","Test":"TestAll/one","Elapsed":1.5}
{"Action":"run","Package":"p","Test":"TestAll/two"}
{"Action":"output","Package":"p","Test":"TestAll/two","Output":"    a_test.go:8: no disk\n"}
{"Action":"skip","Package":"p","Test":"TestAll/two"}
{"Action":"pass","Package":"p","Test":"TestAll"}
{"Action":"pass","Package":"p"}
`
	var out bytes.Buffer
	results := newTestResults(&out, "p", false)
	results.each = true
	if err := results.read(strings.NewReader(stream)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ok   one ", "0 missing, 1.5s", "skip two ", "no disk"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not show %q", want)
		}
	}
	if strings.Contains(out.String(), "TestAll") {
		t.Error("it shows a test that has subtests")
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

func TestVersionsMustAgree(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/go.mod": "module microcomm/01-one\n\ngo 1.26.0\n\nrequire example.org/a v1.0.0\n",
		"02-two/go.mod": "module microcomm/02-two\n\ngo 1.26.0\n\nrequire (\n\texample.org/a v1.0.0\n\texample.org/b v1.0.0 // indirect\n)\n",
	})
	if err := checkVersions(l.root); err != nil {
		t.Fatal(err)
	}
	put(t, l, map[string]string{"03-three/go.mod": "module microcomm/03-three\n\ngo 1.26.0\n\nrequire example.org/b v1.1.0\n"})
	err := checkVersions(l.root)
	if err == nil || err.Error() != "example.org/b: v1.0.0 in 02-two; v1.1.0 in 03-three" {
		t.Errorf("error: %v", err)
	}
}

func TestTestsWithoutABrokerGetNoURL(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc, which lab test asks for")
	}
	l := workspace(t, map[string]string{
		"01-one/go.mod":                       "module microcomm/01-one\n\ngo 1.26\n",
		"01-one/platformservice/publisher.go": "package platformservice\n",
		"01-one/platformservice/publisher_test.go": `package platformservice

import (
	"os"
	"testing"
)

func TestPublisher(t *testing.T) {
	if url, set := os.LookupEnv("RABBITMQ_URL"); set {
		t.Errorf("RABBITMQ_URL is %q", url)
	}
}
`,
	})
	t.Setenv("RABBITMQ_URL", "amqp://localhost:1/")
	if err := l.do(t.Context(), "test", "01", "--no-broker", "--run", "TestPublisher"); err != nil {
		t.Errorf("error: %v\n%s", err, l.out)
	}
}

func TestTwinsMustAgree(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/platformservice/problem.go": "package platformservice\n\nvar problem = 1\n",
		"01-one/commandsservice/problem.go": "// Package commandsservice is the other one.\npackage commandsservice\n\nvar problem = 1\n",
		"02-two/platformservice/health.go":  "package platformservice\n\nvar health = 1\n",
		"02-two/commandsservice/health.go":  "package commandsservice\n\nvar health = 1\n",
		"02-two/platformservice/rest.go":    "package platformservice\n\nvar rest = 1\n", // no twin
		"02-two/commandsservice/rest.go":    "package commandsservice\n\nvar rest = 2\n",
		"02-two/platformservice/broker.go":  "package platformservice\n", // only one has it
	})
	if err := checkTwins(l.stages[1]); err != nil {
		t.Errorf("equal twins: %v", err)
	}
	if err := checkTwins(l.stages[0]); err == nil || !strings.Contains(err.Error(), "commandsservice/problem.go") {
		t.Errorf("a comment of one alone: %v", err)
	}
	put(t, l, map[string]string{"02-two/commandsservice/health.go": "package commandsservice\n\nvar health = 2\n"})
	if err := checkTwins(l.stages[1]); err == nil || !strings.Contains(err.Error(), "commandsservice/health.go") {
		t.Errorf("twins that differ: %v", err)
	}
}

func TestDoctorNamesATakenPortLast(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	l := workspace(t, nil)
	if err := doctor(t.Context(), l, []usualPort{{port, "a service", "SERVICE_ADDR"}}); err != nil {
		t.Skip("something needed is missing on this machine")
	}
	said := l.out.(*bytes.Buffer).String()
	if !strings.HasSuffix(said, "but these ports are taken: "+port+" (SERVICE_ADDR moves it)\n") {
		t.Errorf("it ends:\n%s", said)
	}
}

func TestDoctorAndTheTestsSayThatCgoIsOff(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	l := exerciseStage(t)
	t.Setenv("CGO_ENABLED", "0")
	t.Setenv("PLATFORMS_HTTP_ADDR", someFreeAddress())
	const want = "unset CGO_ENABLED"
	if err := doctor(t.Context(), l, nil); !errors.Is(err, errReported) || !strings.Contains(said(l), want) {
		t.Errorf("doctor: error: %v; it does not say %q", err, want)
	}
	for _, args := range [][]string{{"run", "01"}, {"test", "01"}, {"check", "01", "add"}, {"watch", "01", "add"}, {"verify", "exercises"}} {
		if err := l.do(t.Context(), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lab %s: error: %v, want one that says %q", strings.Join(args, " "), err, want)
		}
	}
	t.Setenv("CGO_ENABLED", "")
	t.Setenv("GOENV", filepath.Join(t.TempDir(), "env"))
	put(t, &lab{root: filepath.Dir(os.Getenv("GOENV"))}, map[string]string{"env": "CGO_ENABLED=0\n"})
	if err := needCompiler(t.Context()); err == nil || !strings.Contains(err.Error(), "go env -u CGO_ENABLED") {
		t.Errorf("of go env -w CGO_ENABLED=0 it says: %v", err)
	}
}

// TestDoctorNamesEveryToolThatIsMissing: the lessons send their requests with curl.
func TestDoctorNamesEveryToolThatIsMissing(t *testing.T) {
	l := workspace(t, map[string]string{"01-one/go.mod": "module microcomm/01-one\n"})
	t.Setenv("PATH", t.TempDir())
	err := doctor(t.Context(), l, nil)
	text := said(l)
	for _, want := range []string{"  no  Go ", "  no  git ", "  -   curl            not installed; ", "\nMissing: 3\n"} {
		if !errors.Is(err, errReported) || !strings.Contains(text, want) {
			t.Errorf("error: %v; it does not say %q:\n%s", err, want, text)
		}
	}
}

func TestDoctorSaysThatGitRefusesTheCheckout(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc")
	}
	l := exerciseStage(t)
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1") // as in a checkout of another user
	want := "git config --global --add safe.directory " + l.root
	if err := doctor(t.Context(), l, nil); !errors.Is(err, errReported) || !strings.Contains(said(l), want) {
		t.Errorf("doctor: error: %v; it does not say %q", err, want)
	}
	for _, args := range [][]string{{"test", "01"}, {"check", "01", "add"}, {"watch", "01", "add"}} {
		if err := l.do(t.Context(), args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("lab %s: error: %v, want one that says %q", strings.Join(args, " "), err, want)
		}
	}
	t.Setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "")
	os.RemoveAll(filepath.Join(l.root, ".git"))
	if err := needClone(t.Context(), l.root); err == nil || !strings.Contains(err.Error(), "is not a git clone") {
		t.Errorf("of an unpacked archive it says: %v", err)
	}
}

// The sentence about a slow build comes when it is true: for a library that Go
// has not compiled, and apart for the race detector.
func TestASlowBuildIsAnnouncedOnlyWhenThereIsOne(t *testing.T) {
	l := workspace(t, map[string]string{
		"01-one/go.mod":         "module microcomm/01-one\n\ngo 1.26\n\nrequire github.com/mattn/go-sqlite3 v0.0.0\n\nreplace github.com/mattn/go-sqlite3 => ./sqlite3\n",
		"01-one/a/a.go":         "package a\n\nimport _ \"github.com/mattn/go-sqlite3\"\n",
		"01-one/sqlite3/go.mod": "module github.com/mattn/go-sqlite3\n\ngo 1.26\n",
		"01-one/sqlite3/x.go":   "package sqlite3 // a new name for each run: " + t.TempDir() + "\n",
	})
	dir := l.stages[0].Dir
	announced := func(race bool) string {
		defer l.err.(*bytes.Buffer).Reset()
		l.announce(t.Context(), dir, race, "./a")
		return l.err.(*bytes.Buffer).String()
	}
	for _, race := range []bool{false, true} {
		if text := announced(race); !strings.Contains(text, "compiling SQLite") || strings.Contains(text, "race detector") != race {
			t.Errorf("race %t: before it is compiled it says %q", race, text)
		}
		args := []string{"go", "build", "./a"}
		if race {
			args = []string{"go", "build", "-race", "./a"}
		}
		if _, err := process.Output(t.Context(), process.Command{Args: args, Dir: dir, Env: append(os.Environ(), "GOWORK=off")}); err != nil {
			t.Fatal(err)
		}
		if text := announced(race); text != "" {
			t.Errorf("race %t: once it is compiled it says %q", race, text)
		}
	}
}

func TestAnAddressIsTakenOrCannotBeUsed(t *testing.T) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for address, want := range map[string]string{
		listener.Addr().String(): "an earlier lab run",
		"localhost:99999":        "PLATFORMS_HTTP_ADDR: localhost:99999 cannot be used",
		"localhost":              "PLATFORMS_HTTP_ADDR: localhost cannot be used",
	} {
		t.Setenv("PLATFORMS_HTTP_ADDR", address)
		err := free(t.Context(), &service{http: endpoint{"PLATFORMS_HTTP_ADDR", ""}})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "earlier") != strings.Contains(want, "earlier") {
			t.Errorf("%s: error: %v, want one that says %q", address, err, want)
		}
	}
}

func TestATakenBrokerPortSaysHowToStopTheInstalledOne(t *testing.T) {
	if !strings.HasPrefix(rabbitmq.Find(), "/usr/lib/rabbitmq/") {
		t.Skip("no RabbitMQ of a Linux package on this machine")
	}
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken := fmt.Sprintf("localhost:%d", listener.Addr().(*net.TCPAddr).Port)
	l := workspace(t, nil)
	const want = "sudo systemctl disable --now rabbitmq-server"
	t.Setenv("RABBITMQ_URL", "amqp://"+taken+"/")
	if err := l.do(t.Context(), "broker"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("lab broker: error: %v, want one that says %q", err, want)
	}
	t.Setenv("RABBITMQ_URL", "amqp://"+someFreeAddress()+"/")
	t.Setenv("RABBITMQ_MANAGEMENT_ADDR", taken)
	if err := l.do(t.Context(), "broker"); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("lab broker, management: error: %v, want one that says %q", err, want)
	}
}

func TestUsageMistakes(t *testing.T) {
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"unknown verb":     {[]string{"jump"}, "unknown command jump; go tool lab help lists them"},
		"mistyped verb":    {[]string{"dif", "02"}, "unknown command dif; did you mean diff?"},
		"mistyped help":    {[]string{"hlep"}, "unknown command hlep; did you mean help?"},
		"help for hlep":    {[]string{"help", "hlep"}, "unknown command hlep; did you mean help?"},
		"mistyped stage":   {[]string{"run", "fnial"}, "unknown stage fnial; did you mean final?"},
		"drill of nothing": {[]string{"drill"}, "drill needs a STAGE, or --compare; see: go tool lab help drill"},
		"drill elsewhere":  {[]string{"drill", "42", "x"}, "unknown stage 42; the stages are 01-rest, "},
		"mistyped drill":   {[]string{"drill", "06", "--shrot"}, "unknown flag --shrot; did you mean --short?"},
		"mistyped part":    {[]string{"verify", "dosc"}, "there is no dosc to verify; did you mean docs?"},
		"no such part":     {[]string{"verify", "06"}, "there is no 06 to verify; verify accepts docs, http, book or exercises"},
		"help of a verb":   {[]string{"help", "tset"}, "unknown command tset; did you mean test?"},
		"unknown stage":    {[]string{"test", "42"}, "unknown stage 42; the stages are 01-rest, "},
		"unknown flag":     {[]string{"test", "--fast"}, "unknown flag --fast; see: go tool lab help test"},
		"mistyped flag":    {[]string{"diff", "02", "--stats"}, "unknown flag --stats; did you mean --stat?"},
		"flag cut short":   {[]string{"test", "--no-b"}, "unknown flag --no-b; did you mean --no-broker?"},
		"flag with no arg": {[]string{"forward", "--base"}, "flag needs an argument: -base"},
		"no stage":         {[]string{"run"}, "run needs a STAGE"},
		"no exercise":      {[]string{"solution", "01"}, "solution needs an EXERCISE"},
		"two stages":       {[]string{"run", "01", "02"}, "unexpected argument 02"},
		"first stage":      {[]string{"diff", "01"}, "is the first stage"},
	} {
		t.Run(name, func(t *testing.T) {
			var usage usageError
			err := dispatch(context.Background(), test.args, &bytes.Buffer{}, &bytes.Buffer{})
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error: %v, want one that says %q", err, test.want)
			}
		})
	}
}

func TestCheckInEachModuleNamesTheOneThatFails(t *testing.T) {
	sound, broken := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(sound, "go.mod"), []byte("module sound\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(broken, "go.mod"), []byte("modul broken\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := inEach(t.Context(), []repo.Stage{{Name: "sound", Dir: sound}, {Name: "broken", Dir: broken}}, "go", "list", "-m")
	if err == nil || !strings.HasPrefix(err.Error(), "broken: ") || strings.Contains(err.Error(), "sound: ") {
		t.Errorf("got %v, want the error of the module broken alone", err)
	}
}
