package main

import (
	"bytes"
	"errors"
	"fmt"
	"html"
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/renderer"
	markup "github.com/yuin/goldmark/renderer/html"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"microcomm/docs/tools/internal/markdown"
)

// parsed is a Markdown file that becomes a page, or a part of one.
type parsed struct {
	source   string // its path from the checkout's top
	text     []byte
	tree     ast.Node
	title    string
	beside   []link // the links below the title, to pages that go with it
	lead     string // the first paragraph, when it stands before any heading
	outline  []heading
	anchors  map[string]int // how many headings have a name
	snippets []*snippet     // those that are lines of a file, in order
	mentions []mention      // what the text says about code that it doesn't show
	prefix   string         // of the ids of its headings and snippets
	about    string         // the file that all of it is about, or empty
}

// snippet is a block of lines of a file, with what the text around it says.
type snippet struct {
	id     string // of its anchor in the page
	file   string
	text   string
	remark string // HTML: the paragraphs around it
}

// quotes sets quotation marks and apostrophes as print has them, and leaves dashes and dots alone.
var quotes = extension.NewTypographer(extension.WithTypographicSubstitutions(map[extension.TypographicPunctuation][]byte{
	extension.LeftSingleQuote: []byte("‘"), extension.RightSingleQuote: []byte("’"), extension.Apostrophe: []byte("’"),
	extension.LeftDoubleQuote: []byte("“"), extension.RightDoubleQuote: []byte("”"),
	extension.EnDash: nil, extension.EmDash: nil, extension.Ellipsis: nil, extension.LeftAngleQuote: nil, extension.RightAngleQuote: nil,
}))

// parse reads a Markdown file.
func (b *book) parse(source string) (*parsed, error) {
	content, err := b.read(source)
	if err != nil {
		return nil, err
	}
	return b.parseText(source, content), nil
}

func (b *book) parseText(source, content string) *parsed {
	d := &parsed{source: source, text: []byte(content), anchors: map[string]int{}}
	d.tree = goldmark.New(goldmark.WithExtensions(extension.GFM, quotes)).Parser().Parse(text.NewReader(d.text))
	if h, ok := d.tree.FirstChild().(*ast.Heading); ok && h.Level == 1 {
		d.title = markdown.PlainText(h, d.text)
		d.anchors[markdown.Slug(d.title)]++ // the page's own heading has it
		d.tree.RemoveChild(d.tree, h)
	}
	return d
}

// takeHead takes the line of links below the title, and the paragraph that says what
// the page is about, out of the text.
func (b *book) takeHead(d *parsed) error {
	if p, ok := d.tree.FirstChild().(*ast.Paragraph); ok && isLinks(p, d.text) {
		for n := p.FirstChild(); n != nil; n = n.NextSibling() {
			l, ok := n.(*ast.Link)
			before, isText := n.PreviousSibling().(*ast.Text)
			if !ok || isText && regexp.MustCompile(`(previous|next): $`).Match(before.Segment.Value(d.text)) {
				continue
			}
			name := strings.ReplaceAll(markdown.PlainText(l, d.text), "\n", " ")
			if to := b.resolve(d.source, string(l.Destination)); name != "start" && !strings.HasPrefix(to, "book:final/index.html") {
				d.beside = append(d.beside, link{to, name})
			}
		}
		d.tree.RemoveChild(d.tree, p)
	}
	if p, ok := d.tree.FirstChild().(*ast.Paragraph); ok {
		if _, isHeading := p.NextSibling().(*ast.Heading); isHeading || d.source == "README.md" {
			lead, err := b.inline(d, p)
			if err != nil {
				return err
			}
			d.lead = lead
			d.tree.RemoveChild(d.tree, p)
		}
	}
	return nil
}

// isLinks reports whether a paragraph is nothing but links in a row.
func isLinks(p *ast.Paragraph, source []byte) bool {
	links := 0
	for n := p.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Link:
			links++
		case *ast.Text:
			rest := regexp.MustCompile(`previous:|next:|·|\s`).ReplaceAll(n.Segment.Value(source), nil)
			if len(rest) > 0 {
				return false
			}
		default:
			return false
		}
	}
	return links > 0
}

// inline renders what is inside a paragraph.
func (b *book) inline(d *parsed, p ast.Node) (string, error) {
	out, err := b.renderNode(d, p)
	out = strings.TrimSpace(out)
	out = out[strings.Index(out, ">")+1:]
	return strings.TrimSuffix(out, "</p>"), err
}

// render is the HTML of a document, as XHTML. It fills in the outline and the snippets.
func (b *book) render(d *parsed) (string, error) { return b.renderNode(d, d.tree) }

func (b *book) renderNode(d *parsed, n ast.Node) (string, error) {
	ours := renderer.WithNodeRenderers(util.Prioritized(&documentRenderer{b, d}, 1))
	var out bytes.Buffer
	err := goldmark.New(goldmark.WithExtensions(extension.GFM),
		goldmark.WithRendererOptions(markup.WithUnsafe(), markup.WithXHTML(), ours)).Renderer().Render(&out, d.text, n)
	if err != nil {
		return "", fmt.Errorf("%s: %w", d.source, err)
	}
	return out.String(), nil
}

// resolve is where a link in the file at source leads: an address of the book, or
// one outside of it.
func (b *book) resolve(source, target string) string {
	to, err := url.Parse(target)
	if err != nil || to.Scheme != "" || to.Host != "" {
		return target
	}
	file := source
	if strings.HasPrefix(to.Path, "/") {
		file = path.Clean(to.Path[1:])
	} else if to.Path != "" {
		file = path.Join(path.Dir(source), to.Path)
	}
	if found := b.urlOf(file, to.Fragment); found != "" {
		return "book:" + found
	}
	if b.repository != "" {
		return b.repository + "/blob/main/" + file
	}
	return target // the check of the site's links reports it
}

// documentRenderer renders what a page of the book shows differently than goldmark.
type documentRenderer struct {
	b *book
	d *parsed
}

func (r *documentRenderer) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindHeading, r.heading)
	reg.Register(ast.KindParagraph, r.paragraph)
	reg.Register(ast.KindBlockquote, r.blockquote)
	reg.Register(ast.KindFencedCodeBlock, r.fence)
	reg.Register(ast.KindCodeSpan, r.codeSpan)
	reg.Register(ast.KindLink, r.link)
	reg.Register(ast.KindImage, r.image)
	reg.Register(ast.KindHTMLBlock, r.htmlBlock)
	reg.Register(ast.KindRawHTML, r.rawHTML)
	reg.Register(extast.KindTable, r.table)
}

func (r *documentRenderer) heading(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	n := node.(*ast.Heading)
	if !entering {
		fmt.Fprintf(w, "</h%d>\n", n.Level)
		return ast.WalkContinue, nil
	}
	text := markdown.PlainText(n, source)
	id := markdown.Slug(text)
	if count := r.d.anchors[id]; count > 0 {
		r.d.anchors[id]++
		id = fmt.Sprintf("%s-%d", id, count)
	} else {
		r.d.anchors[id] = 1
	}
	id = r.d.prefix + id
	r.d.outline = append(r.d.outline, heading{n.Level, id, text})
	fmt.Fprintf(w, `<h%d id="%s"><a class="anchor" href="#%[2]s" aria-label="Link to: %s"></a>`, n.Level, html.EscapeString(id), html.EscapeString(text))
	return ast.WalkContinue, nil
}

// paragraph marks what asks the reader to predict.
func (r *documentRenderer) paragraph(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		figures, err := r.recordingsIn(n, source)
		_, _ = w.WriteString("</p>\n" + figures)
		return ast.WalkContinue, err
	}
	class := ""
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		if e, ok := child.(*ast.Emphasis); ok && e.Level == 2 && strings.HasPrefix(markdown.PlainText(e, source), "Predict") {
			class = ` class="predict"`
		}
	}
	if id, ok := n.AttributeString("id"); ok {
		class += fmt.Sprintf(` id="%s"`, id)
	}
	fmt.Fprintf(w, "<p%s>", class)
	return ast.WalkContinue, nil
}

func (r *documentRenderer) blockquote(w util.BufWriter, source []byte, _ ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		_, _ = w.WriteString("<blockquote class=\"aside\">\n")
	} else {
		_, _ = w.WriteString("</blockquote>\n")
	}
	return ast.WalkContinue, nil
}

// table puts a table into a box that scrolls by itself.
func (r *documentRenderer) table(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		class := "table"
		if head := n.FirstChild(); head != nil && strings.TrimSpace(markdown.PlainText(head, r.d.text)) == "" {
			class += " headless"
		}
		if head := n.FirstChild(); head != nil && head.ChildCount() <= 3 {
			class += " narrow"
		}
		fmt.Fprintf(w, "<div class=\"%s\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table>\n", class)
	} else {
		_, _ = w.WriteString("</table></div>\n")
	}
	return ast.WalkContinue, nil
}

// codeSpan leads to what it names, if that is a file or a declaration of the document's stage.
func (r *documentRenderer) codeSpan(w util.BufWriter, source []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	text := strings.ReplaceAll(markdown.PlainText(n, source), "\n", " ")
	code := "<code>" + html.EscapeString(text) + "</code>"
	if _, linked := n.Parent().(*ast.Link); !linked {
		to := r.b.named(r.d, n).url()
		if inStage := r.b.stageOf(r.d.source) + "/" + strings.Trim(text, "/"); to == "" && r.b.has[inStage] {
			to = r.b.urlOf(inStage, "") // a folder, or a file of any kind
		}
		if to != "" {
			code = fmt.Sprintf(`<a class="in-code" href="book:%s">%s</a>`, to, code)
		}
	}
	_, err := w.WriteString(code)
	return ast.WalkSkipChildren, err
}

func (r *documentRenderer) link(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		_, _ = w.WriteString("</a>")
		return ast.WalkContinue, nil
	}
	n := node.(*ast.Link)
	fmt.Fprintf(w, `<a href="%s"`, html.EscapeString(r.b.resolve(r.d.source, string(n.Destination))))
	if class, ok := n.AttributeString("class"); ok {
		fmt.Fprintf(w, ` class="%s"`, class)
	}
	if len(n.Title) > 0 {
		fmt.Fprintf(w, ` title="%s"`, html.EscapeString(string(n.Title)))
	}
	_, _ = w.WriteString(">")
	return ast.WalkContinue, nil
}

func (r *documentRenderer) image(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.Image)
	out, err := r.b.imageTag(path.Join(path.Dir(r.d.source), string(n.Destination)), markdown.PlainText(n, source))
	if err != nil {
		return ast.WalkStop, err
	}
	_, err = w.WriteString(out)
	return ast.WalkSkipChildren, err
}

var (
	htmlLink = regexp.MustCompile(`\b(href|src|srcset)="([^"]*)"`)
	htmlVoid = regexp.MustCompile(`<(img|source|br|hr)\b([^>]*?)\s*/?>`)
)

func (r *documentRenderer) writeHTML(w util.BufWriter, segments *text.Segments) error {
	raw := string(segments.Value(r.d.text))
	var failed error
	raw = htmlVoid.ReplaceAllStringFunc(raw, func(found string) string {
		parts := htmlVoid.FindStringSubmatch(found)
		link := htmlLink.FindStringSubmatch(parts[2])
		if link == nil || link[1] == "href" {
			return "<" + parts[1] + parts[2] + " />"
		}
		url, size, err := r.b.imageFile(path.Join(path.Dir(r.d.source), link[2]))
		failed = errors.Join(failed, err)
		return "<" + parts[1] + htmlLink.ReplaceAllString(parts[2], `${1}="`+url+`"`) + size + " />"
	})
	raw = htmlLink.ReplaceAllStringFunc(raw, func(found string) string {
		parts := htmlLink.FindStringSubmatch(found)
		return parts[1] + `="` + r.b.resolve(r.d.source, parts[2]) + `"`
	})
	raw = summary.ReplaceAllStringFunc(raw, func(found string) string {
		text, err := inSummary(summary.FindStringSubmatch(found)[1])
		failed = errors.Join(failed, err)
		return "<summary>" + text + "</summary>"
	})
	_, _ = w.WriteString(raw)
	return failed
}

var summary = regexp.MustCompile(`(?s)<summary>(.*?)</summary>`)

// inSummary renders the Markdown that GitHub leaves as it is in a summary.
func inSummary(inside string) (string, error) {
	var out strings.Builder
	err := goldmark.New(goldmark.WithExtensions(quotes), goldmark.WithRendererOptions(markup.WithUnsafe(), markup.WithXHTML())).Convert([]byte(inside), &out)
	return strings.TrimSuffix(strings.TrimPrefix(out.String(), "<p>"), "</p>\n"), err
}

func (r *documentRenderer) htmlBlock(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	n := node.(*ast.HTMLBlock)
	if entering {
		if err := r.writeHTML(w, n.Lines()); err != nil {
			return ast.WalkStop, err
		}
	} else if n.HasClosure() {
		_, _ = w.Write(n.ClosureLine.Value(source))
	}
	return ast.WalkContinue, nil
}

func (r *documentRenderer) rawHTML(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering {
		if err := r.writeHTML(w, node.(*ast.RawHTML).Segments); err != nil {
			return ast.WalkStop, err
		}
	}
	return ast.WalkSkipChildren, nil
}

// fence renders a code block as what its annotation says it is.
func (r *documentRenderer) fence(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.FencedCodeBlock)
	var lines strings.Builder
	for i := range n.Lines().Len() {
		segment := n.Lines().At(i)
		lines.Write(segment.Value(source))
	}
	info := ""
	if n.Info != nil {
		info = string(n.Info.Segment.Value(source))
	}
	a, _ := markdown.ParseAnnotation(info) // lab verify reports a wrong one
	out, err := r.b.codeBlock(r.d, n, a, strings.TrimRight(lines.String(), "\n"))
	if err != nil {
		return ast.WalkStop, err
	}
	_, err = w.WriteString(out + "\n")
	return ast.WalkContinue, err
}
