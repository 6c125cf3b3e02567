package main

import (
	"fmt"
	"html"
	"strings"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/markdown"
)

// codeBlock is the HTML of a code block.
func (b *book) codeBlock(d *parsed, n ast.Node, a markdown.Annotation, text string) (string, error) {
	switch {
	case a.Language == "mermaid":
		return b.picture(d.source, text)
	case a.Kind == markdown.Snippet:
		return b.snippetBlock(d, n, a, text)
	}
	class, label := "code", ""
	switch {
	case a.IsShell():
		class = "command"
		switch {
		case a.Kind == markdown.Background:
			label = "in a terminal of its own"
		case a.Cluster:
			label = "on a cluster"
		}
	case a.Kind == markdown.Output:
		class, label = "output", "output"
		if a.FromBackground {
			label = "output, in the other terminal"
		} else if a.Partial {
			label = "output, in part"
		}
	case a.Word == "sketch" || a.Word == "example":
		label = a.Word
	}
	if class == "output" {
		return figure(class, "", label, html.EscapeString(text)), nil
	}
	highlighted, err := b.highlighted(a.Language, text)
	if err != nil {
		return "", err
	}
	return figure(class, "", label, highlighted), nil
}

// figure is a block of code with a caption, which may be empty.
func figure(class, id, caption, code string) string {
	var w strings.Builder
	fmt.Fprintf(&w, `<figure class="block %s"`, class)
	if id != "" {
		fmt.Fprintf(&w, ` id="%s"`, id)
	}
	w.WriteString(">")
	if caption != "" {
		w.WriteString("<figcaption>" + caption + "</figcaption>")
	}
	w.WriteString(`<pre tabindex="0"><code>` + code + "</code></pre></figure>")
	return w.String()
}

// snippetBlock is a block of lines of a file: it leads to the file, and to the change
// that it is about.
func (b *book) snippetBlock(d *parsed, n ast.Node, a markdown.Annotation, text string) (string, error) {
	s := &snippet{id: fmt.Sprintf("%ssnippet-%d", d.prefix, len(d.snippets)+1), file: a.File, text: text}
	highlighted, err := b.highlighted(a.File, dedent(text))
	if err != nil {
		return "", err
	}
	if s.remark, err = b.around(d, n); err != nil {
		return "", err
	}
	d.snippets = append(d.snippets, s)
	_, name, _ := strings.Cut(a.File, "/")
	caption := fmt.Sprintf(`<a href="book:%s">%s</a>`, html.EscapeString(b.urlOf(a.File, "")), html.EscapeString(name))
	return figure("code", s.id, caption+snippetMark(s.id), highlighted), nil
}

// snippetMark stands where the link to the change goes, once that is known.
func snippetMark(id string) string { return "<!--" + id + "-->" }

// around is what the text says about a block: the paragraph before it, and the one
// after it when that does not lead to another block.
func (b *book) around(d *parsed, n ast.Node) (string, error) {
	var said strings.Builder
	if p, ok := n.PreviousSibling().(*ast.Paragraph); ok {
		out, err := b.renderNode(d, p)
		if err != nil {
			return "", err
		}
		said.WriteString(out)
	}
	if p, ok := n.NextSibling().(*ast.Paragraph); ok {
		if follows(p) {
			out, err := b.renderNode(d, p)
			if err != nil {
				return "", err
			}
			said.WriteString(out)
		}
	}
	return said.String(), nil
}

// follows reports whether a paragraph after a block is about that block, and not about
// the next.
func follows(p *ast.Paragraph) bool {
	_, leads := p.NextSibling().(*ast.FencedCodeBlock)
	return !leads && !startsTopic(p)
}

// startsTopic reports whether a paragraph begins with bold words, as one does that
// turns to something else.
func startsTopic(p *ast.Paragraph) bool {
	e, ok := p.FirstChild().(*ast.Emphasis)
	return ok && e.Level == 2
}

// dedent removes the tabs that all lines begin with.
func dedent(text string) string {
	lines := strings.Split(text, "\n")
	common := -1
	for _, line := range lines {
		tabs := len(line) - len(strings.TrimLeft(line, "\t"))
		if strings.TrimSpace(line) != "" && (common < 0 || tabs < common) {
			common = tabs
		}
	}
	for i, line := range lines {
		lines[i] = line[min(max(0, common), len(line)):]
	}
	return strings.Join(lines, "\n")
}
