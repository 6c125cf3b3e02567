package main

import (
	"regexp"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/repo"
)

func TestARemarkUnfoldsTheWholeFunction(t *testing.T) {
	const was = "package x\n\nfunc a() {\n\tone()\n\ttwo()\n\tthree()\n\tfour()\n\tfive()\n\tsix()\n\tseven()\n}\n\nfunc b() {\n\tother()\n}\n"
	is := strings.Replace(was, "\tsix()\n", "\tsix()\n\tadded()\n", 1)
	patch := "@@ -8,3 +8,4 @@\n \tfive()\n \tsix()\n+\tadded()\n \tseven()\n"
	folded := func(said ...*located) string {
		t.Helper()
		b := &book{}
		d := &diffPage{comparison: &changes.Comparison{
			Before: repo.Stage{Name: "01"}, After: repo.Stage{Name: "02"},
			Was: map[string]string{"x.go": was}, Is: map[string]string{"x.go": is},
		}}
		out, err := b.hunks(d, changes.File{Path: "x.go", Patch: patch}, "x.go", said)
		if err != nil {
			t.Fatal(err)
		}
		var inside strings.Builder
		for _, part := range strings.Split(out, `<details class="same">`)[1:] {
			part, _, _ = strings.Cut(part, "</details>")
			inside.WriteString(part)
		}
		return plainText(inside.String())
	}
	if got := folded(); !strings.Contains(got, "two()") || !strings.Contains(got, "other()") {
		t.Errorf("without a remark, what is unchanged is not folded: %s", got)
	}
	got := folded(&located{snippet: &snippet{}, lines: []stretch{{10, 11}}})
	if strings.Contains(got, "func a()") || strings.Contains(got, "two()") || !strings.Contains(got, "other()") {
		t.Errorf("beside a remark on added() are folded: %s", got)
	}
}

// testDiffLinks looks for the identifiers of a diff, added and removed.
func testDiffLinks(t *testing.T, b *book) {
	for _, want := range []struct{ page, link string }{
		{"02-http-sync/diff/index.html", `<a href="book:code/02-http-sync/platformservice/router.go.html#L`},
		{"02-http-sync/diff/index.html", `">detached</a>`},
		{"07-grpc/diff/index.html", `<a href="book:code/06-rabbitmq/`},
	} {
		if text := b.byURL[want.page].html; !strings.Contains(text, want.link) {
			t.Errorf("%s: no %s", want.page, want.link)
		}
	}
	for _, d := range b.diffs {
		for _, old := range asideOld.FindAllString(d.page.html, -1) {
			if strings.Contains(old, "<a") {
				t.Fatalf("%s: a link is hidden from screen readers: %s", d.page.url, old)
			}
		}
	}
}

// testReadingOrder looks for what comes before code, or unfolded, and should not.
func testReadingOrder(t *testing.T, b *book) {
	aside := regexp.MustCompile(`(?s)<section class="changed" id="[^"]*(?:\.ya?ml|-Kustomization)"><header><h2>.*?</section>`)
	folded := 0
	for _, d := range b.diffs {
		for _, at := range aside.FindAllStringIndex(d.page.html, -1) {
			section := d.page.html[at[0]:at[1]]
			code, _, _ := strings.Cut(d.page.html[at[1]:], `<h2 class="part"`)
			switch {
			case strings.Contains(section, `class="remark"`) || strings.Contains(section, `class="note"`):
			case !strings.Contains(section, `<details class="folded">`):
				t.Errorf("%s: not folded: %.80s", d.page.url, section)
			case strings.Contains(code, `.go">`) && strings.Contains(code, `class="run"`):
				t.Errorf("%s: code comes after %.80s", d.page.url, section)
			default:
				folded++
			}
		}
	}
	if folded < 10 {
		t.Errorf("only %d files of YAML are folded", folded)
	}
}

// testMentions looks for paragraphs beside what they name, without a snippet of it.
func testMentions(t *testing.T, b *book) {
	section := func(url, id string) string {
		_, text, _ := strings.Cut(b.byURL[url].html, `<section class="changed" id="`+id+`">`)
		text, _, _ = strings.Cut(text, "</section>")
		return text
	}
	for _, want := range []struct{ url, id, declared, said string }{
		{"06-rabbitmq/diff/index.html", "commandsservice-event_processor.go", "", ">event_processor.go</code>"}, // the file
		{"03-k8s/diff/index.html", "platformservice-sqlite.go", ">ping</", ">ping</code>"},                      // a method
		{"final/diff/23-access-control.html", "internal-web-keys.go", ">refreshed</", ">refreshed</code>"},
		{"02-http-sync/diff/index.html", "platformservice-config.go", ">httpURL</", ">httpURL</code>"}, // of an item of a list
	} {
		_, remark, _ := strings.Cut(section(want.url, want.id), `<aside class="remark"`)
		remark, code, _ := strings.Cut(remark, "</aside>")
		code, _, _ = strings.Cut(code, `<details class="same">`)
		if !strings.Contains(remark, want.said) || !strings.Contains(code, want.declared) {
			t.Errorf("%s: %s: no paragraph beside %q, but %q", want.url, want.id, want.declared, plainText(remark))
		}
	}
	for _, d := range b.diffs {
		seen := map[string]bool{}
		for _, link := range regexp.MustCompile(`#says-\d+">in the lesson`).FindAllString(d.page.html, -1) {
			link += d.page.url
			if d.piece == "" && seen[link] {
				t.Errorf("%s: a paragraph is there twice: %s", d.page.url, link)
			}
			seen[link] = true
		}
	}
}
