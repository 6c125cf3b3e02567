package main

import (
	"fmt"
	"html"
	"strings"

	"github.com/yuin/goldmark/ast"
	extast "github.com/yuin/goldmark/extension/ast"

	"microcomm/docs/tools/internal/markdown"
)

// wave is the way through the course as a drawn line: a station for each stage, those
// passed in colour.
func wave(stations, current int) string {
	const step, low, high = 40, 20, 8
	at := func(i int) (x, y int) {
		y = low
		if i%2 == 1 {
			y = high
		}
		return 10 + step*i, y
	}
	line := func(to int) string {
		var w strings.Builder
		for i := range to + 1 {
			x, y := at(i)
			if i == 0 {
				fmt.Fprintf(&w, "M%d %d", x, y)
				continue
			}
			px, py := at(i - 1)
			fmt.Fprintf(&w, "C%d %d %d %d %d %d", px+step/2, py, x-step/2, y, x, y)
		}
		return w.String()
	}
	var w strings.Builder
	width := 20 + step*(stations-1)
	fmt.Fprintf(&w, `<svg class="wave" viewBox="0 0 %d 28" width="%[1]d" height="28" role="img" aria-label="Stage %d of %d"><path d="%s" /><path class="passed" d="%s" />`,
		width, current+1, stations, line(stations-1), line(current))
	for i := range stations {
		x, y := at(i)
		switch {
		case i < current:
			fmt.Fprintf(&w, `<circle class="passed" cx="%d" cy="%d" r="4" />`, x, y)
		case i == current:
			fmt.Fprintf(&w, `<circle class="current" cx="%d" cy="%d" r="7" />`, x, y)
		default:
			fmt.Fprintf(&w, `<circle cx="%d" cy="%d" r="4" />`, x, y)
		}
	}
	return w.String() + "</svg>"
}

// drawTrail replaces the table of the chapters by a trail from one to the next: what
// each adds, and on the way the problem that leads on.
func (b *book) drawTrail(d *parsed) error {
	for n := d.tree.FirstChild(); n != nil; n = n.NextSibling() {
		table, ok := n.(*extast.Table)
		if !ok || !isChapters(n.PreviousSibling(), d.text) {
			continue
		}
		var w strings.Builder
		w.WriteString("<ol class=\"trail\">\n")
		for row := table.FirstChild().NextSibling(); row != nil; row = row.NextSibling() {
			cells := []string{}
			for c := row.FirstChild(); c != nil; c = c.NextSibling() {
				out, err := b.renderNode(d, c)
				if err != nil {
					return err
				}
				out = strings.TrimSpace(out)
				out = out[strings.Index(out, ">")+1:]
				cells = append(cells, strings.TrimSuffix(out, "</td>"))
			}
			if first, ok := row.FirstChild().FirstChild().(*ast.Link); ok {
				to := b.resolve(d.source, string(first.Destination))
				if p := b.byURL[strings.TrimPrefix(to, "book:")]; p != nil {
					cells[0] = fmt.Sprintf(`<a href="%s">%s</a>`, to, html.EscapeString(p.title))
				}
			}
			if len(cells) != 3 {
				return fmt.Errorf("%s: a row of the chapters' table has %d cells, not 3", d.source, len(cells))
			}
			curve := `<svg viewBox="0 0 64 100" preserveAspectRatio="none" aria-hidden="true"><path d="M16 0C16 55 48 45 48 100" vector-effect="non-scaling-stroke" /></svg>`
			if row.NextSibling() == nil {
				curve = ""
			}
			fmt.Fprintf(&w, "<li>%s<p class=\"stop\">%s</p><p class=\"adds\">%s</p>", curve, cells[0], cells[1])
			if cells[2] != "" {
				fmt.Fprintf(&w, "<p class=\"leaves\"><span class=\"away\">The problem it leaves: </span>%s</p>", cells[2])
			}
			w.WriteString("</li>\n")
		}
		w.WriteString("</ol>\n")
		drawn := ast.NewString([]byte(w.String()))
		drawn.SetRaw(true)
		drawn.SetCode(true)
		d.tree.ReplaceChild(d.tree, table, drawn)
		return nil
	}
	return fmt.Errorf("%s: no table of the chapters", d.source)
}

// isChapters reports whether a table comes with the heading The chapters.
func isChapters(n ast.Node, source []byte) bool {
	for ; n != nil; n = n.PreviousSibling() {
		if h, ok := n.(*ast.Heading); ok {
			return markdown.PlainText(h, source) == "The chapters"
		}
	}
	return false
}
