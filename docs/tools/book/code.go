package main

import (
	"context"
	"fmt"
	"html"
	"path"
	"slices"
	"strings"
	"unicode/utf8"
)

// others is the name of the tree of files at the checkout's top.
const others = "top"

// treeURL is the address of the page that lists the files of a folder at the top.
func treeURL(top string) string { return "code/" + top + "/index.html" }

// codeURL is the address of the page of a file. A server may leave out files whose names
// begin with a dot.
func codeURL(file string) string {
	if top := topOf(file); top == others {
		file = others + "/" + file
	}
	return strings.ReplaceAll("code/"+file+".html", "/.", "/dot-")
}

// topOf is the folder at the top that a file is listed with.
func topOf(file string) string {
	top, _, inFolder := strings.Cut(file, "/")
	if !inFolder || strings.HasPrefix(top, ".") {
		return others
	}
	return top
}

// folderID names a folder in the page that lists it.
func folderID(folder string) string { return "in-" + strings.ReplaceAll(folder, "/", "-") }

// listCode lists a page for each file of text that isn't a document.
func (b *book) listCode(context.Context) error {
	tops := []string{}
	for _, s := range b.stages {
		tops = append(tops, s.Name)
	}
	tops = append(tops, "docs", others)
	for _, top := range tops {
		title := "The code of " + top
		if top == others {
			title = "Files at the top"
		}
		b.add(&page{url: treeURL(top), title: title, kind: tree, stage: b.stageOf(top + "/")})
		for _, file := range b.files {
			if topOf(file) != top || !b.isCode(file) {
				continue
			}
			b.add(&page{url: codeURL(file), title: path.Base(file), source: file, kind: code, stage: b.stageOf(file)})
		}
	}
	return nil
}

// isCode reports whether a file is shown as code.
func (b *book) isCode(file string) bool {
	if strings.HasSuffix(file, ".md") && !strings.Contains(file, "/testdata/") || strings.HasSuffix(file, ".patch") || path.Base(file) == "go.sum" || path.Base(file) == "go.work.sum" || strings.HasSuffix(file, ".svg") && strings.HasPrefix(file, "docs/") {
		return false
	}
	text, err := b.read(file)
	return err == nil && utf8.ValidString(text) && !strings.Contains(text, "\x00")
}

// makeCode fills the pages of files, and of the folders that list them.
func (b *book) makeCode(ctx context.Context) error {
	lives, err := b.findLives()
	if err != nil {
		return err
	}
	var files []*page
	for _, p := range b.pages {
		switch p.kind {
		case code:
			files = append(files, p)
		case tree:
			b.makeTree(p, lives)
		}
	}
	return inParallel(ctx, files, func(p *page) error { return b.makeFile(p, lives) })
}

// makeTree fills the page that lists the files of a folder.
func (b *book) makeTree(p *page, lives lives) {
	top := strings.Split(p.url, "/")[1]
	var w strings.Builder
	w.WriteString("<div class=\"tree\">\n")
	named := map[string]bool{".": true}
	for _, file := range b.filesBelow(top) {
		var folders []string // those that have no heading yet, from the inside out
		for dir := path.Dir(strings.TrimPrefix(file, top+"/")); !named[dir]; dir = path.Dir(dir) {
			named[dir] = true
			folders = append(folders, dir)
		}
		// A folder that holds nothing but folders has an anchor, and no heading.
		for _, dir := range slices.Backward(folders[min(1, len(folders)):]) {
			fmt.Fprintf(&w, `<span id="%s"></span>`, folderID(dir))
		}
		if len(folders) > 0 {
			dir := folders[0]
			fmt.Fprintf(&w, `<h2 id="%s">%s/</h2>`+"\n", folderID(dir), html.EscapeString(dir))
			p.outline = append(p.outline, heading{2, folderID(dir), dir + "/"})
		}
		fmt.Fprintf(&w, `<p class="file"><a href="book:%s">%s</a>%s</p>`+"\n", codeURL(file), html.EscapeString(path.Base(file)), lives.since(file))
	}
	w.WriteString("</div>\n")
	p.html = w.String()
	if p.stage != "" {
		p.beside = b.stageLinks(p.stage, "code")
	}
}

// filesBelow are the files shown below a folder at the top, those of each folder
// before its folders.
func (b *book) filesBelow(top string) []string {
	var files []string
	for _, p := range b.pages {
		if p.kind == code && topOf(p.source) == top {
			files = append(files, p.source)
		}
	}
	slices.SortStableFunc(files, func(a, c string) int {
		return strings.Compare(path.Dir(a)+"\x00"+path.Base(a), path.Dir(c)+"\x00"+path.Base(c))
	})
	return files
}

// makeFile fills the page of a file.
func (b *book) makeFile(p *page, lives lives) error {
	content, err := b.read(p.source)
	if err != nil {
		return err
	}
	lines, err := b.highlights.lines(p.source, content)
	if err != nil {
		return err
	}
	links := b.declared.linksIn(p.source, content)
	var w strings.Builder
	w.WriteString(lives.of(b, p.source))
	w.WriteString(`<div class="lines" role="group" aria-label="` + html.EscapeString(path.Base(p.source)) + `">` + "\n")
	for i, line := range lines {
		fmt.Fprintf(&w, `<div class="l" id="L%d"><a href="#L%[1]d" tabindex="-1">%[1]d</a><code>`, i+1)
		for _, s := range line {
			writeLinked(&w, s, links)
		}
		w.WriteString("</code></div>\n")
	}
	w.WriteString("</div>\n")
	p.html, p.wide = w.String(), true
	if strings.HasSuffix(p.source, ".go") {
		p.outline = outlineOf(content)
	}
	if url := b.changeOf(p.stage, strings.TrimPrefix(p.source, p.stage+"/")); url != "" {
		p.beside = []link{{"book:" + url, "what changes in it here"}}
	}
	top := topOf(p.source)
	p.lead = `<a href="book:` + treeURL(top) + `">` + top + `</a> / ` + folderLinks(top, p.source)
	return nil
}

// folderLinks are the folders above a file, each a link.
func folderLinks(top, file string) string {
	var w strings.Builder
	folders := strings.Split(path.Dir(strings.TrimPrefix(file, top+"/")), "/")
	for i, name := range folders {
		if name != "." {
			fmt.Fprintf(&w, `<a href="book:%s#%s">%s</a> / `, treeURL(top), folderID(strings.Join(folders[:i+1], "/")), html.EscapeString(name))
		}
	}
	return w.String() + html.EscapeString(path.Base(file))
}

// writeLinked writes a span of code, with links where an offset has one.
func writeLinked(w *strings.Builder, s span, links map[int]identifier) {
	open := func() {
		if s.class != "" {
			w.WriteString(`<span class="` + s.class + `">`)
		}
	}
	shut := func() {
		if s.class != "" {
			w.WriteString("</span>")
		}
	}
	open()
	last := 0
	for i := 0; i < len(s.text); i++ {
		to, ok := links[s.offset+i]
		if !ok || i+to.length > len(s.text) {
			continue
		}
		w.WriteString(html.EscapeString(s.text[last:i]))
		fmt.Fprintf(w, `<a href="book:%s">%s</a>`, to.url, html.EscapeString(s.text[i:i+to.length]))
		last = i + to.length
		i = last - 1
	}
	w.WriteString(html.EscapeString(s.text[last:]))
	shut()
}
