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
		lead: `All lessons with everything unfolded, to print or to read in one go. For an e-reader: <a href="book:` + epubURL + `">the EPUB</a>.`})
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

var (
	anID       = regexp.MustCompile(` id="([^"]*)"`)
	anAnchor   = regexp.MustCompile(` href="(?:book:([^"#]*))?(#[^"]*)?"`)
	anyDetails = regexp.MustCompile(`<details(?: open="open")?`)
)

// makePrint fills the page of the whole course: ids get the name of their page, links
// between the pages stay inside, and nothing is folded.
func (b *book) makePrint(context.Context) error {
	p := b.byURL[printURL]
	name := map[string]string{}
	for _, c := range b.course() {
		name[c.url] = strings.NewReplacer("/", "-", ".html", "").Replace(strings.TrimSuffix(c.url, "/index.html"))
	}
	var w strings.Builder
	for _, c := range b.course() {
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
		fmt.Fprintf(&w, "<section class=\"printed\">\n<h1 id=\"%s\">%s</h1>\n%s%s</section>\n", own, html.EscapeString(c.title), lead, anyDetails.ReplaceAllLiteralString(body, `<details open="open"`))
		p.outline = append(p.outline, heading{2, own, c.title})
	}
	p.html = w.String()
	start := b.byURL["index.html"]
	start.beside = append(start.beside, link{"book:" + printURL, "on one page, to print"}, link{"book:" + epubURL, "EPUB"})
	return nil
}

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
	site, err := filepath.Abs(filepath.Join(dir, printURL))
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
