package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"

	"microcomm/docs/tools/internal/markdown"
)

// document is a Markdown file.
type document struct {
	path    string // from the root, with slashes
	source  []byte
	blocks  []*block // the fenced ones, in order
	links   []link
	anchors map[string]bool // what #… may name
}

// block is a fenced code block.
type block struct {
	markdown.Annotation
	line   int    // of the opening fence
	text   string // without the indentation of the block itself
	start  int    // where in the source its text begins, at the start of a line
	end    int    // where the closing fence's line begins
	indent string // what stands before each of its lines
	err    error  // a wrong annotation
	output *block // the expected output
}

// link is the target of a link or an image.
type link struct {
	line   int
	target string
}

// readDocument parses the file at path, from root.
func readDocument(root, path string) (*document, error) {
	source, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		return nil, err
	}
	return parseDocument(path, source), nil
}

func parseDocument(path string, source []byte) *document {
	d := &document{path: path, source: source, anchors: map[string]bool{}}
	tree := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(source))
	line := 1 // of the node that was last seen to have a place in the source
	// The walker's function never fails.
	_ = ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		if n.Type() == ast.TypeBlock && n.Lines().Len() > 0 {
			line = d.lineAt(n.Lines().At(0).Start)
		}
		switch n := n.(type) {
		case *ast.FencedCodeBlock:
			d.addBlock(n, line)
		case *ast.Heading:
			d.addAnchor(markdown.Slug(markdown.PlainText(n, source)))
		case *ast.Link:
			d.links = append(d.links, link{d.lineOf(n, line), string(n.Destination)})
		case *ast.Image:
			d.links = append(d.links, link{d.lineOf(n, line), string(n.Destination)})
		case *ast.HTMLBlock:
			d.addHTML(n.Lines(), line)
		case *ast.RawHTML:
			d.addHTML(n.Segments, line)
		}
		return ast.WalkContinue, nil
	})
	for i, b := range d.blocks {
		if b.Kind != markdown.Output || b.FromBackground {
			continue
		}
		if i == 0 || !d.blocks[i-1].IsShell() {
			b.err = fmt.Errorf("this output follows no command")
			continue
		}
		d.blocks[i-1].output = b
	}
	return d
}

// lineAt is the number of the line at an offset.
func (d *document) lineAt(offset int) int { return bytes.Count(d.source[:offset], []byte("\n")) + 1 }

// lineOf is the line of the first text inside an inline node.
func (d *document) lineOf(n ast.Node, otherwise int) int {
	for child := n.FirstChild(); child != nil; child = child.FirstChild() {
		if t, ok := child.(*ast.Text); ok {
			return d.lineAt(t.Segment.Start)
		}
	}
	return otherwise
}

func (d *document) addBlock(n *ast.FencedCodeBlock, line int) {
	b := &block{line: line}
	lines := n.Lines()
	var content strings.Builder
	for i := range lines.Len() {
		segment := lines.At(i)
		content.Write(segment.Value(d.source))
	}
	b.text = content.String()
	if n.Info != nil {
		b.line = d.lineAt(n.Info.Segment.Start)
	} else if lines.Len() > 0 {
		b.line = d.lineAt(lines.At(0).Start) - 1
	}
	if lines.Len() > 0 {
		first, last := lines.At(0), lines.At(lines.Len()-1)
		b.start = bytes.LastIndexByte(d.source[:first.Start], '\n') + 1
		b.indent = string(d.source[b.start:first.Start])
		b.end = last.Stop
	} else if n.Info != nil { // empty: the line after the opening fence
		if next := bytes.IndexByte(d.source[n.Info.Segment.Stop:], '\n'); next >= 0 {
			b.start = n.Info.Segment.Stop + next + 1
			b.end = b.start
		}
	}
	info := ""
	if n.Info != nil {
		info = string(n.Info.Segment.Value(d.source))
	}
	b.Annotation, b.err = markdown.ParseAnnotation(info)
	if b.err == nil && b.Language == "mermaid" && strings.TrimSpace(b.text) == "" {
		b.err = fmt.Errorf("an empty picture")
	}
	d.blocks = append(d.blocks, b)
}

// addAnchor adds a heading's anchor, with a number if it exists already.
func (d *document) addAnchor(name string) {
	unique := name
	for n := 1; d.anchors[unique]; n++ {
		unique = fmt.Sprintf("%s-%d", name, n)
	}
	d.anchors[unique] = true
}

var (
	htmlAnchor = regexp.MustCompile(`\b(?:id|name)="([^"]*)"`)
	htmlLink   = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]*)"`)
)

func (d *document) addHTML(segments *text.Segments, line int) {
	html := string(segments.Value(d.source))
	for _, found := range htmlAnchor.FindAllStringSubmatch(html, -1) {
		d.anchors[found[1]] = true
	}
	for _, found := range htmlLink.FindAllStringSubmatch(html, -1) {
		d.links = append(d.links, link{line, found[1]})
	}
}
