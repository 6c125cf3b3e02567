package layout

import (
	"strings"
	"testing"
)

func TestWrapBreaksBetweenWords(t *testing.T) {
	word := strings.Repeat("x", 30)
	long := strings.Repeat("y", 2*Width)
	for line, want := range map[string]string{
		"":                               "",
		"short":                          "short",
		word + "  " + word + " " + word:  word + "  " + word + "\n    " + word,
		long + " " + word:                long + "\n    " + word,
		strings.Repeat("ä", 79) + " b":   strings.Repeat("ä", 79) + "\n    b",
		strings.Repeat("ä", 78) + " b c": strings.Repeat("ä", 78) + " b\n    c",
	} {
		if got := Wrap(line, "    "); got != want {
			t.Errorf("%q becomes\n%s\nwant\n%s", line, got, want)
		}
	}
}

func TestReflowKeepsExamplesAndParagraphs(t *testing.T) {
	word := strings.Repeat("x", 30)
	got := Reflow("one\ntwo\n\n" + word + " " + word + "\n" + word + ":\n  an example\n  another\nthe end")
	want := "one two\n\n" + word + " " + word + "\n" + word + ":\n  an example\n  another\nthe end"
	if got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}

func TestReflowKeepsTheItemsOfAListApart(t *testing.T) {
	word := strings.Repeat("x", 30)
	got := Reflow("Two:\n- one " + word + " " + word + " " + word + "\n- two")
	want := "Two:\n- one " + word + " " + word + "\n  " + word + "\n- two"
	if got != want {
		t.Errorf("it is\n%s\nwant\n%s", got, want)
	}
}
