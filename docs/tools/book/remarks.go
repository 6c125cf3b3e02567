package main

import (
	"cmp"
	"fmt"
	"html"
	"path"
	"regexp"
	"strings"

	"microcomm/docs/tools/internal/markdown"
)

// located is a snippet of a lesson, with the lines of the file that it shows.
type located struct {
	*snippet
	url    string    // of the snippet in the lesson
	said   *page     // the page that shows it
	lines  []stretch // numbers, from the first to the one after the last
	target string    // the id of the line of the diff that it is beside, once it is
}

func (l *located) has(line int) bool {
	for _, s := range l.lines {
		if s.start <= line && line < s.end {
			return true
		}
	}
	return false
}

// snippetsOf are the snippets that say something about the files of a page of diffs, by
// the file's path in the stage: those of the piece's page first, then those of the lesson.
func (b *book) snippetsOf(d *diffPage) map[string][]*located {
	found := map[string][]*located{}
	stage := d.page.stage
	pages := []*page{d.said}
	if lesson := b.bySource[stage+"/README.md"]; d.said != lesson {
		pages = append(pages, lesson)
	}
	for _, p := range pages {
		if p == nil || b.lessons[p.source] == nil {
			continue
		}
		for _, s := range b.lessons[p.source].snippets {
			name, ours := strings.CutPrefix(s.file, stage+"/")
			content, there := d.comparison.Is[name]
			if !ours || !there {
				continue
			}
			l := &located{snippet: s, url: p.url + "#" + s.id, said: p, lines: locate(content, strings.ReplaceAll(s.text, d.comparison.After.Module(), "microcomm/STAGE"))}
			found[name] = append(found[name], l)
			d.snippets = append(d.snippets, l)
		}
	}
	return found
}

// locate finds the lines of a file that a snippet shows. Whitespace doesn't count, as
// where lab verify looks a snippet up.
func locate(content, text string) []stretch {
	var fields []string
	var lineOf []int
	number := 0
	for line := range strings.Lines(content) {
		number++
		for _, word := range strings.Fields(line) {
			fields, lineOf = append(fields, word), append(lineOf, number)
		}
	}
	var lines []stretch
	from := 0
	for _, piece := range markdown.SplitElided(text) {
		wanted := strings.Fields(piece)
		for at := from; at+len(wanted) <= len(fields); at++ {
			if equal(fields[at:at+len(wanted)], wanted) {
				from = at + len(wanted)
				lines = append(lines, stretch{lineOf[at], lineOf[from-1] + 1})
				break
			}
		}
	}
	return lines
}

func equal(a, b []string) bool {
	for i := range b {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

// snippetMarks are the places where a link to the change may go.
var snippetMarks = regexp.MustCompile(`<!--snippet-\d+-->`)

var changesHeading = regexp.MustCompile(`<h2 id="what-changes">.*</h2>\n`)

var (
	changedCell = regexp.MustCompile(`(<td>(?:adds|changes|removes)</td>\s*<td>)(?:<a [^>]*>)?<code>([^<]+)</code>(?:</a>)?`)
	changedRow  = regexp.MustCompile(`(?s)(<td>(?:adds|changes|removes)</td>\s*<td>)<code>(\*[^<]*)</code>(</td>.*?</tr>)`)
	namedTest   = regexp.MustCompile(`(^|[^>])<code>(\w+_test\.go)</code>`)
)

// linkLesson leads from a lesson to its diff: from each snippet that has a place there, and
// from the table of what changes.
func (b *book) linkLesson(d *diffPage) {
	for _, s := range d.snippets {
		if s.target != "" {
			to := fmt.Sprintf(`<a class="see" href="book:%s#%s">in the diff</a>`, d.page.url, html.EscapeString(s.target))
			s.said.html = strings.Replace(s.said.html, snippetMark(s.id), to, 1)
		}
	}
	shown := map[string]bool{}
	for _, f := range d.files {
		shown[f.Path] = true
	}
	if table := b.bySource[d.page.stage+"/PIECES.md"]; d.piece != "" && table != nil {
		head := regexp.MustCompile(`(<h3 id="` + markdown.Slug(d.piece) + `">.*</h3>\n)`)
		table.html = head.ReplaceAllString(table.html, fmt.Sprintf("${1}<p><a href=\"book:%s\">Its lines</a></p>\n", d.page.url))
	}
	lesson := b.bySource[d.page.stage+"/README.md"]
	if d.piece == "" && lesson != nil {
		lesson.html = changesHeading.ReplaceAllString(lesson.html, "${0}<p class=\"to-diff\"><a href=\"book:"+d.page.url+"\">Read the changes in this order, with the lesson’s remarks beside them</a></p>\n")
		lesson.html = changedCell.ReplaceAllStringFunc(lesson.html, func(found string) string {
			parts := changedCell.FindStringSubmatch(found)
			if !shown[parts[2]] {
				return found
			}
			return fmt.Sprintf(`%s<a href="book:%s#%s"><code>%s</code></a>`, parts[1], d.page.url, fileID(parts[2]), parts[2])
		})
		lesson.html = changedRow.ReplaceAllStringFunc(lesson.html, func(found string) string { return linkPattern(d, found) })
	}
}

// linkPattern leads from a row that stands for many files, *_test.go, to where the diff
// shows them, and from one of those that it names to its change: both services may have one.
func linkPattern(d *diffPage, row string) string {
	parts := changedRow.FindStringSubmatch(row)
	change := func(pattern string) string {
		for _, f := range d.files {
			if match, err := path.Match(pattern, path.Base(f.Path)); err == nil && match {
				if pattern == parts[2] {
					return d.page.url + "#" + cmp.Or(markdown.Slug(sectionOf(f)), fileID(f.Path))
				}
				return d.page.url + "#" + fileID(f.Path)
			}
		}
		return ""
	}
	linked := func(name string) string {
		if to := change(name); to != "" {
			return `<a href="book:` + to + `"><code>` + name + "</code></a>"
		}
		return "<code>" + name + "</code>"
	}
	return parts[1] + linked(parts[2]) + namedTest.ReplaceAllStringFunc(parts[3], func(found string) string {
		name := namedTest.FindStringSubmatch(found)
		return name[1] + linked(name[2])
	})
}

// reportRemarks counts the hunks of each stage, and those beside which the lesson says
// something.
func (b *book) reportRemarks() []string {
	hunks, remarked := map[string]int{}, map[string]int{}
	for _, d := range b.diffs {
		hunks[d.page.stage] += d.hunks
		remarked[d.page.stage] += d.remarked
	}
	var lines []string
	for _, s := range b.stages {
		if n := hunks[s.Name]; n > 0 {
			lines = append(lines, fmt.Sprintf("%-14s %4d hunks, %3d with a remark, %3d without", s.Name, n, remarked[s.Name], n-remarked[s.Name]))
		}
	}
	return lines
}
