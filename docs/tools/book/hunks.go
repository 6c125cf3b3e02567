package main

import (
	"fmt"
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
	old, new     [][]span
	wasID, newID string // what the ids of its lines begin with
	said         []*located
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
	for i, lines := range parsePatch(f.Patch) {
		if len(lines) == 0 {
			continue
		}
		t.skipped(&w, old, new, lines[0].old, lines[0].new, !f.Cut, i == 0)
		said := b.hunk(&w, t, lines, snippets)
		if sectionOf(f) == "" {
			d.hunks++
			if said {
				d.remarked++
			}
		}
		last := lines[len(lines)-1]
		old, new = last.old, last.new
		if last.sign != '+' {
			old++
		}
		if last.sign != '-' {
			new++
		}
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
		if t.old, err = b.highlights.lines(from, strings.ReplaceAll(was, changes.AnyModule, c.Before.Module())); err != nil {
			return t, err
		}
	}
	if is, there := c.Is[f.Path]; there {
		t.new, err = b.highlights.lines(f.Path, strings.ReplaceAll(is, changes.AnyModule, c.After.Module()))
	}
	return t, err
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
			fmt.Fprintf(w, `<div class="remarked"><aside class="remark" aria-label="From the lesson">%s<p class="in"><a href="book:%s">in the lesson</a></p></aside>`+"\n", open.remark, open.url)
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

// line writes one line, of the old or of the new file.
func (t texts) line(w *strings.Builder, l diffLine, old bool, marks []stretch) {
	lines, number, id := t.new, l.new, t.newID
	if old {
		lines, number, id = t.old, l.old, t.wasID
	}
	if old && l.sign == ' ' { // shown twice where there are two columns: its anchor is in the other
		fmt.Fprintf(w, `<div class="l"><i>%d</i><code>`, number)
	} else {
		class := "l"
		if !old && slices.ContainsFunc(t.said, func(s *located) bool { return s.has(number) }) {
			class = "l said"
		}
		fmt.Fprintf(w, `<div class="%s" id="%s%d"><a href="#%[2]s%[3]d">%[3]d</a><code>`, class, html.EscapeString(id), number)
	}
	writeMarked(w, lines[number-1], marks)
	w.WriteString("</code></div>")
}

func plain(spans []span) string {
	var w strings.Builder
	for _, s := range spans {
		w.WriteString(s.text)
	}
	return w.String()
}

// writeMarked writes a line, with marks around stretches of it.
func writeMarked(w *strings.Builder, spans []span, marks []stretch) {
	at := 0
	for _, s := range spans {
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
			part := span{s.class, text[:length], 0}
			if marked {
				w.WriteString("<b>")
			}
			writeSpans(w, []span{part})
			if marked {
				w.WriteString("</b>")
			}
			text = text[length:]
			at += length
		}
	}
}
