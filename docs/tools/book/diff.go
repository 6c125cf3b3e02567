package main

import (
	"cmp"
	"context"
	"fmt"
	"html"
	"path"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/markdown"
	"microcomm/docs/tools/internal/repo"
)

// diffPage is a page that shows what a stage changes, or one piece of it.
type diffPage struct {
	page       *page
	comparison *changes.Comparison
	piece      string         // of it, or empty: the whole
	said       *page          // the lesson or the piece's page that is about it
	files      []changes.File // in reading order
	hunks      int
	remarked   int // of the hunks: those with a remark
	snippets   []*located
}

// diffURL is the address of the page that shows what a stage changes.
func diffURL(stage string) string { return stage + "/diff/index.html" }

// listDiffs compares each stage with the one before, and lists a page for each, or for
// each of its pieces.
func (b *book) listDiffs(ctx context.Context) error {
	compared := make([]*changes.Comparison, len(b.stages))
	places := make([]int, len(b.stages)-1)
	for i := range places {
		places[i] = i + 1
	}
	if err := inParallel(ctx, places, func(i int) (err error) {
		compared[i], err = changes.Compare(ctx, b.root, b.stages[i-1], b.stages[i], false)
		return err
	}); err != nil {
		return err
	}
	for _, c := range compared[1:] {
		b.listDiff(c)
	}
	return nil
}

func (b *book) listDiff(c *changes.Comparison) {
	stage := c.After.Name
	name := stage
	if l := b.bySource[stage+"/README.md"]; l != nil {
		name = l.title
	}
	whole := b.add(&page{
		url: diffURL(stage), title: name + ": what changes", kind: diffs, stage: stage,
		lead: "Compared with " + c.Before.Name + ", in the lesson's reading order.",
	})
	if len(c.Pieces) == 0 {
		for i, f := range c.Files { // as Piece does: what the table folds, the page folds
			c.Files[i].Folded = len(f.Rows) > 0 && f.Rows[0].Folded
		}
		whole.wide = true
		c.NoteTwins()
		b.diffs = append(b.diffs, &diffPage{page: whole, comparison: c, files: c.Files, said: b.bySource[stage+"/README.md"]})
		return
	}
	whole.kind = list
	whole.lead = "Compared with " + c.Before.Name + ", a piece at a time."
	var rows strings.Builder
	for _, name := range c.Pieces {
		slug := markdown.Slug(name)
		said := b.pieceCalled(stage, name)
		if said != nil {
			slug = strings.TrimSuffix(path.Base(said.url), ".html")
		}
		p := b.add(&page{url: stage + "/diff/" + slug + ".html", title: name + ": what changes", kind: diffs, stage: stage, wide: true})
		one := *c
		one.Files = c.Piece(name)
		one.NoteTwins()
		of := one.Files
		b.diffs = append(b.diffs, &diffPage{page: p, comparison: c, piece: name, files: of, said: said})
		added, removed := 0, 0
		for _, f := range of {
			if !f.Folded && f.Kind < changes.Tests {
				added, removed = added+f.Added, removed+f.Removed
			}
		}
		fmt.Fprintf(&rows, `<p class="file"><a href="book:%s">%s</a> %s</p>`+"\n", p.url, html.EscapeString(name), cmp.Or(counts(added, removed), `<span class="since">folded</span>`))
	}
	whole.html = `<div class="list-of-pieces">` + "\n" + rows.String() + "</div>\n"
	b.chain(func(p *page) bool { return p.kind == diffs && p.stage == stage })
}

// pieceCalled is the page of a piece, or nil.
func (b *book) pieceCalled(stage, name string) *page {
	for _, p := range b.pages {
		if p.kind == piece && p.stage == stage && p.title == name {
			return p
		}
	}
	return nil
}

// inReadingOrder are the files in the order of the lesson's table. What one may skip comes
// after the code: twins, then YAML that the lesson quotes nothing of, then the tests.
func inReadingOrder(files []changes.File, snippets map[string][]*located) []changes.File {
	files = slices.Clone(files)
	late := func(f changes.File) int {
		switch {
		case f.Kind >= changes.Tests:
			return 4 + int(f.Kind)
		case f.Folded:
			return 3
		case isAside(f, snippets[f.Path]):
			return 2
		case strings.HasPrefix(f.Note, "the same as "):
			return 1
		}
		return 0
	}
	slices.SortStableFunc(files, func(a, b changes.File) int {
		return cmp.Or(cmp.Compare(late(a), late(b)), cmp.Compare(a.Place, b.Place))
	})
	return files
}

// isAside reports whether a file is YAML that the lesson quotes nothing of, as an OpenAPI
// document: it is folded.
func isAside(f changes.File, snippets []*located) bool {
	return lexerOf(f.Path).Config().Name == "YAML" && f.Note == "" && len(snippets) == 0
}

// isFolded reports whether a click shows a file.
func isFolded(f changes.File, snippets []*located) bool {
	return f.Kind >= changes.Tests || f.Folded || isAside(f, snippets)
}

// makeDiffs fills the pages of diffs, and the links to them in the lessons.
func (b *book) makeDiffs(ctx context.Context) error {
	if err := inParallel(ctx, b.diffs, b.makeDiff); err != nil {
		return err
	}
	for _, d := range b.diffs {
		b.linkLesson(d)
	}
	for _, p := range b.pages { // marks that lead to no diff
		if b.lessons[p.source] != nil {
			p.html = snippetMarks.ReplaceAllString(p.html, "")
		}
	}
	return nil
}

// fileID names a file in a page of diffs.
func fileID(name string) string { return strings.ReplaceAll(name, "/", "-") }

func (b *book) makeDiff(d *diffPage) error {
	var w strings.Builder
	snippets := b.snippetsOf(d)
	d.files = inReadingOrder(d.files, snippets)
	b.placeMentions(d, snippets)
	section := ""
	seen := map[string]bool{}
	for _, f := range d.files {
		id := fileID(f.Path)
		if seen[id] {
			id += "-rest" // a piece may show some of a file, and fold the rest
		}
		seen[id] = true
		if title := sectionOf(f); title != section {
			if section = title; title != "" {
				fmt.Fprintf(&w, `<h2 class="part" id="%s">%s</h2>`+"\n", markdown.Slug(title), title)
				d.page.outline = append(d.page.outline, heading{2, markdown.Slug(title), title})
			}
		}
		out, err := b.fileDiff(d, f, id, snippets[f.Path])
		if err != nil {
			return fmt.Errorf("%s: %w", f.Path, err)
		}
		w.WriteString(out)
		if section == "" {
			d.page.outline = append(d.page.outline, heading{2, id, f.Path})
		}
	}
	d.page.html = w.String()
	if d.said != nil {
		d.page.beside = append(d.page.beside, link{"book:" + d.said.url, cmp.Or(d.piece, "the lesson")})
		d.said.beside = append([]link{{"book:" + d.page.url, "what changes"}}, d.said.beside...)
	}
	if d.piece != "" {
		d.page.lead = fmt.Sprintf("The lines of this piece. <code>go tool lab diff %s %s</code> shows them in a terminal.", number(d.page.stage), html.EscapeString(strings.ToLower(d.piece)))
	} else {
		d.page.beside = append(d.page.beside, link{"book:" + treeURL(d.page.stage), "the whole code"})
	}
	return nil
}

// sectionOf is the part of the page that a file comes in: at first the files to read.
func sectionOf(f changes.File) string {
	switch {
	case f.Kind == changes.Tests:
		return "Tests"
	case f.Kind == changes.Generated:
		return "Generated code"
	case f.Folded:
		return "What a first reading may skip"
	}
	return ""
}

// counts says how many lines were added and removed. It is empty for none.
func counts(added, removed int) string {
	if added+removed == 0 {
		return ""
	}
	var w strings.Builder
	w.WriteString(`<span class="counts">`)
	if added > 0 {
		fmt.Fprintf(&w, `<span class="plus">+%d</span> `, added)
	}
	if removed > 0 {
		fmt.Fprintf(&w, `<span class="minus">−%d</span>`, removed)
	}
	return w.String() + "</span>"
}

// fileDiff is the HTML of what changes in a file.
func (b *book) fileDiff(d *diffPage, f changes.File, id string, snippets []*located) (string, error) {
	var w strings.Builder
	folds := isFolded(f, snippets)
	name := html.EscapeString(f.Path)
	title := name
	if url := b.urlOf(d.page.stage+"/"+f.Path, ""); url != "" {
		title = fmt.Sprintf(`<a href="book:%s" title="The whole file">%s</a>`, url, name)
	}
	level := "h2"
	if sectionOf(f) != "" {
		level = "h3"
	}
	fmt.Fprintf(&w, `<section class="changed" id="%s"><header><%s>%s</%[2]s>%[4]s`, id, level, title, counts(f.Added, f.Removed))
	if why := b.why(d, f); why != "" {
		w.WriteString(`<p class="why">` + why + "</p>")
	}
	w.WriteString("</header>\n")
	switch {
	case f.Note != "":
		w.WriteString(`<p class="note">` + b.note(d, f) + "</p>\n")
	case f.Kind == changes.Generated:
	default:
		body, err := b.hunks(d, f, id, snippets)
		if err != nil {
			return "", err
		}
		if folds {
			body = "<details class=\"folded\"><summary>Show " + path.Base(name) + "</summary>\n" + body + "</details>\n"
		}
		w.WriteString(body)
	}
	return w.String() + "</section>\n", nil
}

// why is what the lesson's table says about a file.
func (b *book) why(d *diffPage, f changes.File) string {
	var said []string
	for _, row := range f.Rows {
		if row.Place == f.Place || d.piece == "" {
			said = append(said, row.Why)
		}
	}
	if len(said) == 0 {
		return ""
	}
	source := d.page.stage + "/README.md"
	if d.piece != "" {
		source = d.page.stage + "/PIECES.md"
	}
	parsed := b.parseText(source, strings.Join(slices.Compact(said), "; "))
	parsed.about = d.page.stage + "/" + f.Path
	out, err := b.inline(parsed, parsed.tree.FirstChild())
	if err != nil {
		return ""
	}
	return out
}

// note is the line instead of a patch, with a link to the file that it names.
func (b *book) note(d *diffPage, f changes.File) string {
	note := html.EscapeString(f.Note)
	for _, word := range strings.FieldsFunc(f.Note, func(r rune) bool { return r == ' ' || r == ',' }) {
		for _, stage := range []repo.Stage{d.comparison.After, d.comparison.Before} {
			if url := codeURL(stage.Name + "/" + word); b.byURL[url] != nil {
				return strings.Replace(note, word, `<a href="book:`+url+`">`+word+"</a>", 1)
			}
		}
	}
	if piece, shown := strings.CutPrefix(f.Note, "shown with "); shown {
		for _, other := range b.diffs {
			if other.comparison == d.comparison && other.piece == piece {
				return fmt.Sprintf(`shown with <a href="book:%s#%s">%s</a>`, other.page.url, fileID(f.Path), html.EscapeString(piece))
			}
		}
	}
	return note
}

// changeOf is where a page of diffs shows a file of a stage, or empty.
func (b *book) changeOf(stage, name string) string {
	for _, d := range b.diffs {
		if d.page.stage != stage {
			continue
		}
		for _, f := range d.files {
			if f.Path == name && f.Note == "" && f.Kind != changes.Generated {
				return d.page.url + "#" + fileID(name)
			}
		}
	}
	return ""
}
