package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"html"
	"regexp"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/changes"
)

// diffLine is one line of a diff: ' ', '+' or '-', with its numbers in both files.
type diffLine struct {
	sign     byte
	old, new int
}

var hunkHead = regexp.MustCompile(`^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@`)

// parsePatch reads the hunks of a patch.
func parsePatch(patch string) [][]diffLine {
	var hunks [][]diffLine
	old, new := 0, 0
	for line := range strings.Lines(patch) {
		if at := hunkHead.FindStringSubmatch(line); at != nil {
			_, _ = fmt.Sscan(at[1]+" "+at[3], &old, &new) // digits, as the pattern says
			if at[2] == "0" {
				old++ // of no lines: the number is that of the line before
			}
			if at[4] == "0" {
				new++
			}
			hunks = append(hunks, nil)
			continue
		}
		if len(hunks) == 0 || line[0] == '\\' {
			continue
		}
		last := &hunks[len(hunks)-1]
		*last = append(*last, diffLine{line[0], old, new})
		if line[0] != '+' {
			old++
		}
		if line[0] != '-' {
			new++
		}
	}
	return hunks
}

// between are the lines that two hunks have between them, when both files have the
// same there. A piece that leaves out changes leaves a gap instead.
func between(old, new, oldEnd, newEnd int) ([]diffLine, bool) {
	if oldEnd-old != newEnd-new {
		return nil, false
	}
	var lines []diffLine
	for i := range oldEnd - old {
		lines = append(lines, diffLine{' ', old + i, new + i})
	}
	return lines, true
}

// texts are both versions of a file, highlighted.
type texts struct {
	old, new           [][]span
	oldLinks, newLinks map[int]identifier
	wasID, newID       string // what the ids of its lines begin with
	said               []*located
}

// hunks is the HTML of the hunks of a file, with the remarks on them.
func (b *book) hunks(d *diffPage, f changes.File, id string, snippets []*located) (string, error) {
	t, err := b.texts(d, f, id)
	if err != nil {
		return "", err
	}
	t.said = snippets
	var w strings.Builder
	class := "two"
	if len(t.old) == 0 || len(t.new) == 0 {
		class = "one"
	}
	fmt.Fprintf(&w, `<div class="hunks %s">`+"\n", class)
	old, new := 1, 1
	for i, lines := range t.unfold(parsePatch(f.Patch), declarationLines(f.Path, d.comparison.Is[f.Path])) {
		t.skipped(&w, old, new, lines[0].old, lines[0].new, !f.Cut, i == 0)
		said := b.hunk(&w, t, lines, snippets)
		if !isFolded(f, snippets) {
			d.hunks++
			if said {
				d.remarked++
			}
		}
		old, new = after(lines)
	}
	t.skipped(&w, old, new, len(t.old)+1, len(t.new)+1, !f.Cut, false)
	return w.String() + "</div>\n", nil
}

func (b *book) texts(d *diffPage, f changes.File, id string) (texts, error) {
	c := d.comparison
	from := f.Path
	if f.From != "" {
		from = f.From
	}
	t := texts{wasID: id + "-old-", newID: id + "-"}
	var err error
	if was, there := c.Was[from]; there {
		was = strings.ReplaceAll(was, changes.AnyModule, c.Before.Module())
		t.oldLinks = b.declared.linksIn(c.Before.Name+"/"+from, was)
		if t.old, err = b.highlights.lines(from, was); err != nil {
			return t, err
		}
	}
	if is, there := c.Is[f.Path]; there {
		is = strings.ReplaceAll(is, changes.AnyModule, c.After.Module())
		t.newLinks = b.declared.linksIn(c.After.Name+"/"+f.Path, is)
		t.new, err = b.highlights.lines(f.Path, is)
	}
	return t, err
}

// declarationLines are the lines of each declaration of a Go file, with its comment.
func declarationLines(name, content string) []stretch {
	if !strings.HasSuffix(name, ".go") {
		return nil
	}
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, name, content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil // testdata may be wrong on purpose
	}
	var found []stretch
	for _, decl := range file.Decls {
		from := decl.Pos()
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Doc != nil {
				from = decl.Doc.Pos()
			}
		case *ast.GenDecl:
			if decl.Doc != nil {
				from = decl.Doc.Pos()
			}
		}
		found = append(found, stretch{set.Position(from).Line, set.Position(decl.End()).Line + 1})
	}
	return found
}

// unfold makes the hunks longer where a remark is about a declaration: all of it is shown.
// Hunks that then touch become one.
func (t texts) unfold(hunks [][]diffLine, declarations []stretch) [][]diffLine {
	hunks = slices.DeleteFunc(hunks, func(hunk []diffLine) bool { return len(hunk) == 0 })
	wanted := map[int]bool{}
	for _, hunk := range hunks {
		for _, l := range hunk {
			if l.sign == '-' || !t.isSaid(l.new) {
				continue
			}
			for _, d := range declarations {
				for n := d.start; d.start <= l.new && l.new < d.end && n < d.end; n++ {
					wanted[n] = true
				}
			}
		}
	}
	same := func(old, new int) bool {
		return wanted[new] && old > 0 && old <= len(t.old) && new <= len(t.new) && plain(t.old[old-1]) == plain(t.new[new-1])
	}
	var longer [][]diffLine
	endOld, endNew := 1, 1 // of the hunk before
	for i, hunk := range hunks {
		var before []diffLine
		for old, new := hunk[0].old-1, hunk[0].new-1; old >= endOld && new >= endNew && same(old, new); old, new = old-1, new-1 {
			before = append(before, diffLine{' ', old, new})
		}
		slices.Reverse(before)
		hunk = append(before, hunk...)
		if n := len(longer); n > 0 && hunk[0].old == endOld && hunk[0].new == endNew {
			longer[n-1] = append(longer[n-1], hunk...)
		} else {
			longer = append(longer, hunk)
		}
		old, new := after(hunk)
		for i+1 == len(hunks) || old < hunks[i+1][0].old && new < hunks[i+1][0].new {
			if !same(old, new) {
				break
			}
			last := len(longer) - 1
			longer[last] = append(longer[last], diffLine{' ', old, new})
			old, new = old+1, new+1
		}
		endOld, endNew = old, new
	}
	return longer
}

// isSaid reports whether a remark is about a line of the new file.
func (t texts) isSaid(line int) bool {
	return slices.ContainsFunc(t.said, func(s *located) bool { return s.has(line) })
}

// after are the numbers of the lines that follow a hunk.
func after(hunk []diffLine) (old, new int) {
	last := hunk[len(hunk)-1]
	old, new = last.old, last.new
	if last.sign != '+' {
		old++
	}
	if last.sign != '-' {
		new++
	}
	return old, new
}

// skipped shows what is between two hunks: folded when nothing has changed there.
func (t texts) skipped(w *strings.Builder, old, new, oldEnd, newEnd int, whole, first bool) {
	if old >= oldEnd && new >= newEnd {
		return
	}
	lines, same := between(old, new, oldEnd, newEnd)
	if !same || !whole {
		if !first && newEnd <= len(t.new) {
			w.WriteString("<p class=\"gap\" aria-hidden=\"true\">⋯</p>\n")
		}
		return
	}
	plural := "lines"
	if len(lines) == 1 {
		plural = "line"
	}
	fmt.Fprintf(w, `<details class="same"><summary>%d unchanged %s</summary>`+"\n", len(lines), plural)
	t.write(w, lines)
	w.WriteString("</details>\n")
}

// hunk writes a hunk, cut where a remark belongs beside it, and reports whether there was one.
func (b *book) hunk(w *strings.Builder, t texts, lines []diffLine, snippets []*located) bool {
	covered := false
	start := 0
	var open *located
	flush := func(end int) {
		if end <= start {
			return
		}
		if open != nil {
			fmt.Fprintf(w, `<div class="remarked"><aside class="remark" role="note" aria-label="From the lesson">%s<p class="in"><a href="book:%s">in the lesson</a></p></aside>`+"\n", open.remark, open.url)
		}
		w.WriteString(`<div class="run">` + "\n")
		t.write(w, lines[start:end])
		w.WriteString("</div>\n")
		if open != nil {
			w.WriteString("</div>\n")
		}
		start = end
	}
	for i, line := range lines {
		if line.sign == '-' {
			continue
		}
		for _, s := range snippets {
			if !s.has(line.new) {
				continue
			}
			covered = true
			if s.target == "" {
				// what is removed just above belongs to it
				from := i
				for from > start && lines[from-1].sign == '-' {
					from--
				}
				flush(from)
				open = s
				s.target = fmt.Sprintf("%s%d", t.newID, line.new)
			}
		}
	}
	flush(len(lines))
	return covered
}

// write writes lines as runs that are the same, and runs that change.
func (t texts) write(w *strings.Builder, lines []diffLine) {
	for len(lines) > 0 {
		end := 0
		same := lines[0].sign == ' '
		for end < len(lines) && (lines[end].sign == ' ') == same {
			end++
		}
		run := lines[:end]
		lines = lines[end:]
		if same {
			w.WriteString(`<div class="eq"><div class="old" aria-hidden="true">`)
			for _, l := range run {
				t.line(w, l, true, nil)
			}
			w.WriteString(`</div><div class="new">`)
			for _, l := range run {
				t.line(w, l, false, nil)
			}
			w.WriteString("</div></div>\n")
			continue
		}
		t.change(w, run)
	}
}

// change writes a run of lines that were removed and added.
func (t texts) change(w *strings.Builder, run []diffLine) {
	var del, ins []diffLine
	for _, l := range run {
		if l.sign == '-' {
			del = append(del, l)
		} else {
			ins = append(ins, l)
		}
	}
	text := func(lines [][]span, numbers []diffLine, of func(diffLine) int) []string {
		var texts []string
		for _, l := range numbers {
			texts = append(texts, plain(lines[of(l)-1]))
		}
		return texts
	}
	delWords, insWords := wordMarks(text(t.old, del, func(l diffLine) int { return l.old }), text(t.new, ins, func(l diffLine) int { return l.new }))
	w.WriteString(`<div class="ch"><div class="old">`)
	if len(del) > 0 {
		w.WriteString("<del>")
		for i, l := range del {
			t.line(w, l, true, delWords[i])
		}
		w.WriteString("</del>")
	}
	w.WriteString(`</div><div class="new">`)
	if len(ins) > 0 {
		w.WriteString("<ins>")
		for i, l := range ins {
			t.line(w, l, false, insWords[i])
		}
		w.WriteString("</ins>")
	}
	w.WriteString("</div></div>\n")
}

// line writes one line, of the old or of the new file. Its number is a link to share, but no
// stop for the keyboard: a page has thousands of them.
func (t texts) line(w *strings.Builder, l diffLine, old bool, marks []stretch) {
	lines, number, id, links := t.new, l.new, t.newID, t.newLinks
	if old {
		lines, number, id, links = t.old, l.old, t.wasID, t.oldLinks
	}
	if old && l.sign == ' ' { // shown twice where there are two columns: its anchor is in the other
		fmt.Fprintf(w, `<div class="l"><i>%d</i><code>`, number)
		links = nil
	} else {
		class := "l"
		if !old && slices.ContainsFunc(t.said, func(s *located) bool { return !s.quiet && s.has(number) }) {
			class = "l said"
		}
		fmt.Fprintf(w, `<div class="%s" id="%s%d"><a href="#%[2]s%[3]d" tabindex="-1">%[3]d</a><code>`, class, html.EscapeString(id), number)
	}
	writeMarked(w, lines[number-1], marks, links)
	w.WriteString("</code></div>")
}

func plain(spans []span) string {
	var w strings.Builder
	for _, s := range spans {
		w.WriteString(s.text)
	}
	return w.String()
}

// writeMarked writes a line, with marks around stretches of it, and links. A mark is
// around whole words, so around all of an identifier or none of it.
func writeMarked(w *strings.Builder, spans []span, marks []stretch, links map[int]identifier) {
	at := 0
	for _, s := range spans {
		offset := s.offset
		for text := s.text; text != ""; {
			for len(marks) > 0 && marks[0].end <= at {
				marks = marks[1:]
			}
			length, marked := len(text), false
			if len(marks) > 0 {
				if marked = marks[0].start <= at; marked {
					length = min(length, marks[0].end-at)
				} else {
					length = min(length, marks[0].start-at)
				}
			}
			if marked {
				w.WriteString("<b>")
			}
			writeLinked(w, span{s.class, text[:length], offset}, links)
			if marked {
				w.WriteString("</b>")
			}
			text = text[length:]
			at, offset = at+length, offset+length
		}
	}
}
