package exercise

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestReadingAnExercise(t *testing.T) {
	exercises, err := List(absolute(t, "testdata/checkout"), "01-one")
	if err != nil || len(exercises) != 1 {
		t.Fatalf("%d exercises, error: %v", len(exercises), err)
	}
	e := exercises[0]
	if e.Title != "two numbers are added" || e.Level != "easy, about 1 minute" {
		t.Errorf("title %q, level %q", e.Title, e.Level)
	}
	if want := []string{"Look at the result.", "There is an operator for it."}; !slices.Equal(e.Hints, want) {
		t.Errorf("hints %q", e.Hints)
	}
	if want := []string{"TestPositive", "TestNegative"}; !slices.Equal(e.Tests, want) {
		t.Errorf("tests %q", e.Tests)
	}
	if len(e.Items) != 2 || e.Items[0].Text != "Two positive numbers are added: `TestPositive`" || !slices.Equal(e.Items[0].Tests, e.Tests[:1]) {
		t.Errorf("acceptance %q", e.Items)
	}
}

func TestAMistakeInAnExerciseIsNamed(t *testing.T) {
	const add = "01-one/exercises/add/"
	for want, edits := range map[string]map[string][2]string{
		`its first line must be "# add: TITLE"`:        {add + "README.md": {"# add:", "# sum:"}},
		`there is no "**Level:**`:                      {add + "README.md": {"**Level:**", "Level:"}},
		`hints.md has no "## Hint 1"`:                  {add + "hints.md": {"## Hint 1\n\nLook at the result.\n\n## Hint 2", "## Help"}},
		"first line must be //go:build exercise":       {add + "exercise_test.go": {"//go:build exercise\n", "//go:build exercises\n"}},
		"cluster_test.go is of package manifests, but": {add + "cluster_test.go": {"", "//go:build exercise\n\npackage manifests\n\nfunc TestCluster() {}\n"}},
	} {
		_, err := List(checkout(t, edits), "01-one")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error: %v, want one that says %q", err, want)
		}
	}
}

func TestMessageOfAFailure(t *testing.T) {
	output := "=== RUN   TestX\n" +
		"time=2026-11-24 level=INFO msg=\"a log of the service\"\n" +
		"    x_test.go:35: \n" +
		"        \tError Trace:\t/work/x_test.go:35\n" +
		"        \t            \t\t\t\t/work/y_test.go:12\n" +
		"        \tError:      \tNot equal: \n" +
		"        \t            \texpected: 204\n" +
		"        \t            \tactual  : 405\n" +
		"        \tTest:       \tTestX\n" +
		"        \tMessages:   \tDELETE of a platform\n" +
		"    x_test.go:40: another\n" +
		"        with a second line\n" +
		"--- FAIL: TestX (0.01s)\n"
	want := "x_test.go:35:\n  DELETE of a platform\n  Not equal:\n  expected: 204\n  actual  : 405\n" +
		"x_test.go:40: another\n    with a second line"
	if got := Message(output); got != want {
		t.Errorf("message:\n%s\nwant:\n%s", got, want)
	}
}

func TestReasonSaysFirstWhatItGotAndWanted(t *testing.T) {
	const frame = "    x_test.go:35: \n        \tError Trace:\t/work/x_test.go:35\n"
	const diff = "        \t            \t\n        \t            \tDiff:\n        \t            \t--- Expected\n        \t            \t+++ Actual\n"
	for name, test := range map[string]struct{ output, want string }{
		"testify": {frame + "        \tError:      \tNot equal: \n        \t            \texpected: 204\n        \t            \tactual  : 405\n" + diff +
			"        \tTest:       \tTestX\n        \tMessages:   \tDELETE of a platform\n", "got 405, want 204: DELETE of a platform (x_test.go:35)"},
		"values of several lines": {frame + "        \tError:      \tNot equal: \n        \t            \texpected: []int{\n        \t            \t1}\n        \t            \tactual  : []int{\n        \t            \t2}\n" + diff,
			"got []int{ 2}, want []int{ 1} (x_test.go:35)"},
		"another assertion": {frame + "        \tError:      \t\"[]\" should have 1 item(s), but has 0\n        \tMessages:   \tlines in the log\n",
			"\"[]\" should have 1 item(s), but has 0: lines in the log (x_test.go:35)"},
		"an error":   {frame + "        \tError:      \tReceived unexpected error:\n        \t            \tdial: refused\n", "Received unexpected error: dial: refused (x_test.go:35)"},
		"plain":      {"level=INFO msg=\"a log\"\n    x_test.go:40: it is 1,\n        want 2\n--- FAIL: TestX (0.01s)\n", "it is 1, want 2 (x_test.go:40)"},
		"two":        {"    x_test.go:40: it is 1, want 2\n    x_test.go:41: it is 3, want 4\n", "it is 1, want 2 (x_test.go:40); and 1 more"},
		"a subtest":  {"    after:\n    x_test.go:40: it is 1, want 2\n", "after: it is 1, want 2 (x_test.go:40)"},
		"a race":     {"WARNING: DATA RACE\nRead at 0x0\n", "a data race: two goroutines use the same memory without synchronization"},
		"long":       {"    x_test.go:40: " + strings.Repeat("long ", 100) + "\n", strings.Repeat("long ", 24) + "… (x_test.go:40)"},
		"not a word": {"--- FAIL: TestX (0.01s)\n", "it failed without a word"},
	} {
		if got := (Test{State: "fail", Output: test.output}).Reason(); got != test.want {
			t.Errorf("%s: it says %q, want %q", name, got, test.want)
		}
	}
	if got := (Test{State: "skip", Message: "x_test.go:3: no\nserver"}).Reason(); got != "x_test.go:3: no server" {
		t.Errorf("of a skipped test it says %q", got)
	}
}

// The failures of a subtest stand under a heading, behind those of the one before.
func TestMessageOfSubtestsEndsThePendingFailureFirst(t *testing.T) {
	failure := "    x_test.go:3: \n" +
		"        \tError:      \tNot equal: \n" +
		"        \tMessages:   \tcalls at once\n"
	want := "x_test.go:3:\n  calls at once\n  Not equal:\nafter:\nx_test.go:3:\n  calls at once\n  Not equal:"
	if got := Message(failure + "    after:\n" + failure); got != want {
		t.Errorf("message:\n%s\nwant:\n%s", got, want)
	}
}

func TestClusterTestsRunOnlyWhenAsked(t *testing.T) {
	root := checkout(t, map[string][2]string{"01-one/exercises/add/cluster_test.go": {"", `//go:build exercise

package platformservice

import (
	"os"
	"testing"
)

func TestOnCluster(t *testing.T) { t.Fatalf("the context is %s", os.Getenv("KUBE_CONTEXT")) }
`}})
	exercises, err := List(root, "01-one")
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		o    Options
		want string
	}{
		{Options{}, "TestPositive TestNegative"},
		{Options{Cluster: true, Env: append(os.Environ(), "KUBE_CONTEXT=kind-x")}, "TestOnCluster"},
	} {
		r, err := exercises[0].Run(t.Context(), test.o)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range r.Problems {
			t.Error(problem)
		}
		var names []string
		for _, ran := range r.Tests {
			names = append(names, ran.Name)
			if ran.State != "fail" {
				t.Errorf("%s: %q", ran.Name, ran.State)
			}
		}
		if got := strings.Join(names, " "); got != test.want {
			t.Errorf("it runs %s, want %s", got, test.want)
		}
		if test.o.Cluster && !strings.Contains(r.Tests[0].Message, "kind-x") {
			t.Errorf("message %q", r.Tests[0].Message)
		}
	}
}
