package cli

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

func TestOrNearestSuggestsWhatWasProbablyMeant(t *testing.T) {
	known := []string{"help", "test", "diff", "drill", "deploy", "--list", "--no-broker"}
	for wrong, want := range map[string]string{
		"hlep": "did you mean help?", "tset": "did you mean test?", "dif": "did you mean diff?", "deplyo": "did you mean deploy?",
		"dpely": "did you mean deploy?", "dep": "did you mean deploy?", "--no-b": "did you mean --no-broker?",
		"fly": "none", "--fast": "none", "42": "none", "": "none", "--": "none",
	} {
		if got := OrNearest(wrong, known, "none"); got != want {
			t.Errorf("%q: got %q, want %q", wrong, got, want)
		}
	}
}

// The program behind lab receives the flags and arguments that lab was given.
func TestGivenFlagsArePassedOn(t *testing.T) {
	var outer, inner Drill
	lab, program := flag.NewFlagSet("drill", flag.ContinueOnError), flag.NewFlagSet("drill", flag.ContinueOnError)
	outer.Declare(lab)
	inner.Declare(program)
	args, err := Parse(lab, strings.Fields("--short 06 --out=a=b broker-crash --keys=false --json"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(program, slices.Concat(Given(lab), args))
	if err != nil {
		t.Fatal(err)
	}
	if want := (Drill{Short: true, JSON: true, Out: "a=b"}); inner != want || !slices.Equal(got, []string{"06", "broker-crash"}) {
		t.Errorf("got %+v and %q, want %+v", inner, got, want)
	}
}
