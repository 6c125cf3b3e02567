package main

import (
	"cmp"
	"fmt"
	"html"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/markdown"
)

// located is a snippet of a lesson, with the lines of the file that it shows.
type located struct {
	*snippet
	url    string    // of the snippet in the lesson
	said   *page     // the page that shows it
	lines  []stretch // numbers, from the first to the one after the last
	quiet  bool      // the text names the lines, and doesn't quote them
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
	for _, p := range b.saidOf(d) {
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

// mention is a paragraph that names files and declarations of which no snippet beside it
// shows lines, or an item of a list that begins with such a name.
type mention struct {
	id     string // of the paragraph
	remark string
	places []place
}

// findMentions finds the paragraphs of a document that name code, and gives them ids.
// What is folded would give a prediction away.
func (b *book) findMentions(d *parsed) error {
	folded, aside := false, false
	for n := d.tree.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Heading:
			aside = slices.Contains([]string{"What changes", "Check yourself", "Exercises"}, markdown.PlainText(n, d.text))
		case *ast.HTMLBlock:
			text := string(n.Lines().Value(d.text))
			folded = strings.LastIndex(text, "<details") > strings.LastIndex(text, "</details") || folded && !strings.Contains(text, "</details")
		case *ast.Paragraph:
			if folded || aside {
				continue
			}
			if err := b.findMention(d, n, n, b.snippetsBeside(d, n)); err != nil {
				return err
			}
		case *ast.List:
			for item := n.FirstChild(); item != nil && !folded && !aside; item = item.NextSibling() {
				if text, ok := item.FirstChild().(*ast.TextBlock); ok && text.FirstChild().Kind() == ast.KindCodeSpan {
					if err := b.findMention(d, item, text, nil); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// findMention adds a text of a document to its mentions, if it names code that is not in
// the files shown beside it. Its block gets the id.
func (b *book) findMention(d *parsed, block, text ast.Node, shown []string) error {
	m := mention{id: fmt.Sprintf("says-%d", len(d.mentions)+1)}
	_ = ast.Walk(text, func(span ast.Node, entering bool) (ast.WalkStatus, error) {
		if span.Kind() == ast.KindCodeSpan && entering {
			if p := b.named(d, span); p.file != "" && !slices.Contains(shown, p.file) {
				m.places = append(m.places, p)
			}
		}
		return ast.WalkContinue, nil
	})
	if m.places == nil {
		return nil
	}
	var err error
	if m.remark, err = b.renderNode(d, text); err != nil {
		return err
	}
	if block != text {
		m.remark = "<p>" + strings.TrimSpace(m.remark) + "</p>\n"
	}
	// what names a file and a declaration is about the declaration
	slices.SortStableFunc(m.places, func(a, b place) int { return cmp.Compare(min(1, b.line), min(1, a.line)) })
	block.SetAttributeString("id", []byte(m.id))
	d.mentions = append(d.mentions, m)
	return nil
}

// snippetsBeside are the files of the snippets whose remark a paragraph is, as around says.
func (b *book) snippetsBeside(d *parsed, p *ast.Paragraph) []string {
	var files []string
	if next := p.NextSibling(); next != nil {
		files = append(files, b.snippetFile(d, next))
	}
	if previous := p.PreviousSibling(); previous != nil && follows(p) {
		files = append(files, b.snippetFile(d, previous))
	}
	return files
}

// placeMentions adds the paragraphs that name a file or a declaration of a page of diffs to
// its snippets, each once: beside the declaration, unless a remark is there already, or
// beside the first hunk of the file, if that has none.
func (b *book) placeMentions(d *diffPage, snippets map[string][]*located) {
	for _, p := range b.saidOf(d) {
		for _, m := range b.lessons[p.source].mentions {
			for _, at := range m.places {
				if file, line := b.placeIn(d, at, snippets); line > 0 {
					snippets[file] = append(snippets[file], &located{
						snippet: &snippet{remark: m.remark}, url: p.url + "#" + m.id, lines: []stretch{{line, line + 1}}, quiet: true,
					})
					break
				}
			}
		}
	}
}

// placeIn is the file and the line of a page of diffs where a remark on a place belongs. It
// is 0 where the page shows nothing of it, or has a remark.
func (b *book) placeIn(d *diffPage, p place, snippets map[string][]*located) (string, int) {
	stage, name, _ := strings.Cut(p.file, "/")
	for _, f := range d.files {
		if stage != d.page.stage || f.Path != name || f.Note != "" || isFolded(f, snippets[name]) {
			continue
		}
		within := stretch{1, 1 << 30}
		for _, decl := range declarationLines(name, d.comparison.Is[name]) {
			if decl.start <= p.line && p.line < decl.end {
				within = decl
			}
		}
		for _, hunk := range parsePatch(f.Patch) {
			first, taken := 0, false
			for _, l := range hunk {
				if l.sign == '-' || l.new < within.start || l.new >= within.end {
					continue
				}
				if first == 0 && (l.sign == '+' || p.line == 0) {
					first = l.new
				}
				taken = taken || slices.ContainsFunc(snippets[name], func(s *located) bool { return s.has(l.new) })
			}
			if first > 0 && !taken {
				return name, first
			}
			if p.line == 0 || taken {
				return "", 0
			}
		}
	}
	return "", 0
}

// saidOf are the pages that say something about a page of diffs: the piece's, then the lesson.
func (b *book) saidOf(d *diffPage) []*page {
	var pages []*page
	for _, p := range []*page{d.said, b.bySource[d.page.stage+"/README.md"]} {
		if p != nil && b.lessons[p.source] != nil && !slices.Contains(pages, p) {
			pages = append(pages, p)
		}
	}
	return pages
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
		lesson.html = changesHeading.ReplaceAllString(lesson.html, "${0}<p class=\"to-diff\"><a href=\"book:"+d.page.url+"\">Read the changes, with the lesson’s remarks beside them</a></p>\n")
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
