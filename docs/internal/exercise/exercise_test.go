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
