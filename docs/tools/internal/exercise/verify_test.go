package exercise

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

// checkout is a copy of testdata/checkout under git, with the edits: by path,
// what to replace by what. A path that is new is a file to write.
func checkout(t *testing.T, edits map[string][2]string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, os.DirFS(filepath.Join("testdata", "checkout"))); err != nil {
		t.Fatal(err)
	}
	for path, edit := range edits {
		file := filepath.Join(root, filepath.FromSlash(path))
		content, err := os.ReadFile(file)
		if err == nil && !strings.Contains(string(content), edit[0]) {
			t.Fatalf("%s has no %q", path, edit[0])
		}
		text := strings.Replace(string(content), edit[0], edit[1], 1)
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := repo.Git(t.Context(), root, "init", "--quiet"); err != nil {
		t.Fatal(err)
	}
	return root
}

// verify verifies the exercises of the checkout's only stage.
func verify(t *testing.T, root string) (said string, err error) {
	t.Helper()
	exercises, err := List(root, "01-one")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	err = Verify(t.Context(), root, exercises, os.Environ(), &out)
	return out.String(), err
}

func TestACorrectExercisePasses(t *testing.T) {
	root := checkout(t, nil)
	if said, err := verify(t, root); err != nil {
		t.Errorf("error: %v\n%s", err, said)
	}
	if changed, err := repo.Git(t.Context(), root, "diff", "--no-index", "--stat", filepath.Join(root, "01-one"), absolute(t, "testdata/checkout/01-one")); err != nil {
		t.Errorf("it has changed the checkout: %s", changed)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerifyFindsEachMistake(t *testing.T) {
	const add = "01-one/exercises/add/"
	const sum = "01-one/platformservice/sum.go"
	for name, test := range map[string]struct {
		edits map[string][2]string
		want  string
	}{
		"the solution no longer applies": {
			map[string][2]string{sum: {"return 0", "return 0 * a"}},
			"solution.patch does not apply",
		},
		"the solution does not solve it": {
			map[string][2]string{add + "solution.patch": {"+\treturn a + b", "+\treturn max(a + b, 0)"}, add + "mutants/TestPositive.subtracts.patch": {"-\treturn a + b", "-\treturn max(a + b, 0)"}},
			"with the solution, TestNegative does not pass (fail): both:\n    exercise_add_test.go:16: Sum(-1, -2) is 0",
		},
		"the solution has a data race": {
			map[string][2]string{add + "solution.patch": {"@@ -4,4 +4,4 @@\n // Sum adds a and b.\n func Sum(a, b int) int {\n-\treturn 0\n+\treturn a + b",
				"@@ -4,4 +4,7 @@\n // Sum adds a and b.\n func Sum(a, b int) int {\n-\treturn 0\n+\tdone := make(chan bool)\n+\tgo func() { a += b; done <- true }()\n+\ta += 0\n+\t<-done; return a"}},
			"a data race",
		},
		"the solution breaks a test of the chapter": {
			map[string][2]string{"01-one/platformservice/sum_test.go": {"got != 0", "got+Sum(1, 1) != 0"}},
			"with the solution, a test of the stage fails: microcomm/01-one/platformservice TestSumOfNothing",
		},
		"the solution is not formatted": {
			map[string][2]string{add + "solution.patch": {"+\treturn a + b", "+\treturn a+b;"}},
			"01-one/platformservice/sum.go is not formatted",
		},
		"vet finds fault with the solution": {
			map[string][2]string{add + "solution.patch": {"+\treturn a + b", "+\ta = a; return a + b"}},
			"self-assignment",
		},
		"a mutant is let through": {
			map[string][2]string{add + "mutants/TestPositive.subtracts.patch": {"+\treturn a - b", "+\treturn b + a"}},
			"mutants/TestPositive.subtracts.patch is let through by TestPositive (pass)",
		},
		"a mutant does not compile": {
			map[string][2]string{add + "mutants/TestPositive.subtracts.patch": {"+\treturn a - b", "+\treturn c"}},
			"mutants/TestPositive.subtracts.patch: 01-one/platformservice/sum.go:6:9: undefined: c",
		},
		"a mutant no longer applies": {
			map[string][2]string{add + "mutants/TestPositive.subtracts.patch": {"-\treturn a + b", "-\treturn b + a"}},
			"mutants/TestPositive.subtracts.patch does not apply",
		},
		"a mutant of no test": {
			map[string][2]string{add + "mutants/TestOther.subtracts.patch": {"", "--- a/x\n"}},
			"mutants/TestOther.subtracts.patch is not named",
		},
		"a test passes without a solution": {
			map[string][2]string{add + "exercise_test.go": {"Sum(1, 2); got != 3", "Sum(1, 2); got == 4"}},
			"on the stage as it is, TestPositive does not fail (pass)",
		},
		"a test fails without a word": {
			map[string][2]string{add + "exercise_test.go": {`t.Fatalf("Sum(1, 2) is %d, want 3", got)`, "t.FailNow()"}},
			"on the stage as it is, TestPositive fails without a message",
		},
		"a test panics without a solution": {
			map[string][2]string{add + "exercise_test.go": {`t.Fatalf("Sum(1, 2) is %d, want 3", got)`, `panic("three")`}},
			"on the stage as it is: panic: three",
		},
		"the tests do not compile with the chapter": {
			map[string][2]string{add + "exercise_test.go": {"Sum(1, 2); got", "Add(1, 2); got"}},
			"undefined: Add",
		},
		"a test that is skipped": {
			map[string][2]string{add + "exercise_test.go": {"if got := Sum(1", "t.Skip(\"no reason\")\n\tif got := Sum(1"}},
			"on the stage as it is, TestPositive does not fail (skip)",
		},
		"an item of the acceptance without a test": {
			map[string][2]string{add + "README.md": {"are added: `TestPositive`", "are added"}},
			"the acceptance does not name TestPositive",
		},
		"a level of another form": {
			map[string][2]string{add + "README.md": {"easy, about 1 minute", "easy (a minute)"}},
			`the level must be as "easy, about 20 minutes"`,
		},
		"another level in the chapter": {
			map[string][2]string{"01-one/README.md": {"| easy |", "| hard |"}},
			"it is easy, but hard in the table of 01-one/README.md",
		},
		"an exercise that the chapter does not name": {
			map[string][2]string{"01-one/README.md": {"exercises/add/README.md", "exercises/sum/README.md"}},
			"the table of exercises in 01-one/README.md does not have it",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := verify(t, checkout(t, test.edits))
			if err == nil || !strings.Contains(said, test.want) {
				t.Errorf("error: %v; it does not say %q:\n%s", err, test.want, said)
			}
		})
	}
}
