package main

import (
	"html"
	"strings"
	"testing"
)

// testPrint looks for the exercises in the course on one page: each task, and at the end
// its hints, without the solution.
func testPrint(t *testing.T, b *book) {
	if len(b.exercises) < 20 {
		t.Fatalf("only %d exercises", len(b.exercises))
	}
	for _, url := range []string{printURL, "parts of the EPUB"} {
		text := b.byURL[printURL].html
		if url != printURL {
			var all strings.Builder
			for _, p := range b.parts() {
				all.WriteString("<h1>" + html.EscapeString(p.title) + "</h1>" + p.html)
			}
			text = all.String()
		}
		tasks, hints, found := strings.Cut(text, ">Hints</h1>")
		if !found {
			t.Fatalf("%s: no hints", url)
		}
		for _, e := range b.exercises {
			if !strings.Contains(tasks, ">Exercise: "+html.EscapeString(e.page.title)+"</h1>") {
				t.Errorf("%s: no exercise %s", url, e.Name)
			}
			if at := strings.Index(hints, e.Stage+"-"+e.Name+`"`); at < 0 || !strings.Contains(hints[at:], "Hint 1 of ") {
				t.Errorf("%s: no hints for %s", url, e.Name)
			}
		}
		for _, no := range []string{"solution.patch", `class="solution"`, `class="hint`} {
			if strings.Contains(text, no) {
				t.Errorf("%s: has a solution, or hides hints: %s", url, no)
			}
		}
		if strings.Contains(tasks, "Hint 1 of ") {
			t.Errorf("%s: a hint is beside its task", url)
		}
	}
}

func TestAPDFHasNoLinksToTheSite(t *testing.T) {
	page := `<link href="assets/book.css" /><a href="#x">1</a> <a class="in-code" href="code/x.html#L1">2</a> <a href="https://go.dev">3</a> <a href="index.html">4</a>`
	want := `<link href="assets/book.css" /><a href="#x">1</a> <a class="in-code" >2</a> <a href="https://go.dev">3</a> <a >4</a>`
	if got := string(withoutSite([]byte(page))); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
