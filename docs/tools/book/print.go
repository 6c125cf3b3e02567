package main

import (
	"context"
	"fmt"
	"html"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/process"
)

// printURL is the page of the whole course.
const printURL = "print.html"

func (b *book) listPrint(context.Context) error {
	b.add(&page{url: printURL, title: "The course on one page", kind: printed,
		lead: `All lessons and exercises with everything unfolded, to print or to read in one go. For an e-reader: <a href="book:` + epubURL + `">the EPUB</a>.`})
	return nil
}

// course are the pages of the course, in reading order.
func (b *book) course() []*page {
	var pages []*page
	for _, p := range b.pages {
		if p.kind == lesson || p.kind == piece {
			pages = append(pages, p)
		}
	}
	return pages
}

// part is a part of the course on one page, and a chapter of the EPUB: a lesson, a piece,
// an exercise, or the hints.
type part struct {
	url, title, lead, html string
	kind                   kind
}

// hintsURL stands for the part with the hints of all exercises.
const hintsURL = "hints.html"

// parts are the parts of the course in reading order. An exercise follows its chapter. Its
// hints come at the end, so that no one reads them by accident; its solution is in the site.
func (b *book) parts() []part {
	var parts []part
	var hints strings.Builder
	pages := b.course()
	for i, p := range pages {
		parts = append(parts, part{p.url, p.title, p.lead, p.html, p.kind})
		if i+1 < len(pages) && pages[i+1].stage == p.stage {
			continue
		}
		for _, e := range b.exercises {
			if e.page.stage != p.stage {
				continue
			}
			task, rest, _ := strings.Cut(e.page.html, `<h2 id="hints">`)
			_, rest, _ = strings.Cut(rest, "</h2>")
			said, _, _ := strings.Cut(rest, `<h2 id="solution">`)
			id, title := e.Stage+"-"+e.Name, html.EscapeString(e.page.title)
			task += fmt.Sprintf(`<p><a href="book:%s#%s">Its hints</a> are at the end.</p>`+"\n", hintsURL, id)
			parts = append(parts, part{e.page.url, "Exercise: " + e.page.title, e.page.lead, task, exercises})
			said = strings.NewReplacer(` class="hints"`, "", ` class="hint"`, "").Replace(said) // these appear one by one
			said = b.fromLesson(e.page, anchors.ReplaceAllLiteralString(said, ""))
			fmt.Fprintf(&hints, `<h2 id="%s"><a href="book:%s">%s</a></h2>`+"\n%s", id, e.page.url, title, said)
		}
	}
	if hints.Len() > 0 {
		parts = append(parts, part{hintsURL, "Hints", "For each exercise, one hint after the other. Read the next one only when you are stuck.", hints.String(), list})
	}
	for i := range parts {
		for _, e := range b.exercises {
			parts[i].html = strings.ReplaceAll(parts[i].html, `href="book:`+e.page.url+`#hints"`, `href="book:`+hintsURL+"#"+e.Stage+"-"+e.Name+`"`)
		}
	}
	return parts
}

var (
	anID       = regexp.MustCompile(` id="([^"]*)"`)
	anAnchor   = regexp.MustCompile(` href="(?:book:([^"#]*))?(#[^"]*)?"`)
	anyDetails = regexp.MustCompile(`<details(?: open="open")?`)
	anchors    = regexp.MustCompile(`<a class="anchor"[^>]*></a>`)
)

// makePrint fills the page of the whole course: ids get the name of their page, links
// between the pages stay inside, and nothing is folded.
func (b *book) makePrint(context.Context) error {
	p := b.byURL[printURL]
	parts := b.parts()
	name := map[string]string{}
	for _, c := range parts {
		name[c.url] = strings.NewReplacer("/", "-", ".html", "").Replace(strings.TrimSuffix(c.url, "/index.html"))
	}
	var w strings.Builder
	for _, c := range parts {
		own := name[c.url]
		body := anID.ReplaceAllString(c.html, ` id="`+own+`--$1"`)
		body = anAnchor.ReplaceAllStringFunc(body, func(link string) string {
			parts := anAnchor.FindStringSubmatch(link)
			to, fragment := parts[1], strings.TrimPrefix(parts[2], "#")
			if to == "" {
				to = c.url
			}
			switch inside := name[to]; {
			case inside == "":
				return link
			case fragment == "":
				return ` href="#` + inside + `"`
			default:
				return ` href="#` + inside + "--" + fragment + `"`
			}
		})
		lead := ""
		if c.lead != "" {
			lead = `<p class="lead">` + c.lead + "</p>\n"
		}
		fmt.Fprintf(&w, "<section class=\"printed of-%s\">\n<h1 id=\"%s\">%s</h1>\n%s%s</section>\n", c.kind, own, html.EscapeString(c.title), lead, anyDetails.ReplaceAllLiteralString(body, `<details open="open"`))
		p.outline = append(p.outline, heading{2, own, c.title})
	}
	p.html = w.String()
	start := b.byURL["index.html"]
	start.beside = append(start.beside, link{"book:" + printURL, "on one page, to print"}, link{"book:" + epubURL, "EPUB"})
	return nil
}

// siteLink is a link of a page to another page of the site.
var siteLink = regexp.MustCompile(`<a ([^>]*?)href="([^"#:]+(?:#[^"]*)?)"`)

// withoutSite is a page without links to other pages of the site: a PDF is read without them.
func withoutSite(page []byte) []byte { return siteLink.ReplaceAll(page, []byte("<a $1")) }

// writePDF has Chromium print the page of the whole course, of the site in dir, into file.
func writePDF(ctx context.Context, dir, file string, progress *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // a Chromium may have to be installed
	defer cancel()
	browser, err := chromium.Ensure(ctx, progress)
	if err != nil {
		return err
	}
	profile, err := os.MkdirTemp("", "book-pdf")
	if err != nil {
		return err
	}
	defer process.RemoveAll(profile)
	page, err := os.ReadFile(filepath.Join(dir, printURL))
	if err != nil {
		return err
	}
	const copied = "print-pdf.html"
	if err := writeFile(dir, copied, withoutSite(page)); err != nil {
		return err
	}
	defer os.Remove(filepath.Join(dir, copied))
	site, err := filepath.Abs(filepath.Join(dir, copied))
	if err != nil {
		return err
	}
	if file, err = filepath.Abs(file); err != nil {
		return err
	}
	args := append([]string{browser}, chromium.Flags(profile)...)
	args = append(args, "--no-pdf-header-footer", "--print-to-pdf="+file, "file://"+filepath.ToSlash(site))
	if said, err := process.Output(ctx, process.Command{Args: args}); err != nil {
		return fmt.Errorf("print the book: %w\n%s", err, process.LastLines(said, 5))
	}
	_, err = os.Stat(file)
	return err
}
