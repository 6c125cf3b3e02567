package main

import (
	"context"
	"path"
	"regexp"
	"strings"
)

// listDocuments lists a page for each Markdown file, but for those of exercises.
func (b *book) listDocuments(context.Context) error {
	b.lessons = map[string]*parsed{}
	sources := []string{"README.md"}
	for _, s := range b.stages {
		sources = append(sources, s.Name+"/README.md")
	}
	listed := map[string]bool{}
	for _, file := range append(sources, b.files...) {
		if listed[file] || !strings.HasSuffix(file, ".md") || strings.Contains(file, "/testdata/") || strings.Contains(file, "/exercises/") {
			continue
		}
		listed[file] = true
		d, err := b.parse(file)
		if err != nil {
			return err
		}
		b.lessons[file] = d
		b.add(&page{url: documentURL(file), title: d.title, source: file, kind: b.kindOf(file), stage: b.stageOf(file)})
	}
	b.chain(func(p *page) bool { return p.kind == home || p.kind == lesson || p.kind == piece })
	return nil
}

// documentURL is the address of a Markdown file's page.
func documentURL(file string) string {
	dir, name := path.Split(file)
	if name == "README.md" {
		return dir + "index.html"
	}
	return dir + strings.ToLower(strings.TrimSuffix(name, ".md")) + ".html"
}

func (b *book) kindOf(file string) kind {
	switch {
	case file == "README.md":
		return home
	case b.stageOf(file) != "" && path.Base(file) == "README.md":
		return lesson
	case strings.HasPrefix(file, "final/pieces/"):
		return piece
	}
	return reference
}

// stageOf is the stage that a file belongs to, or empty.
func (b *book) stageOf(file string) string {
	for _, s := range b.stages {
		if strings.HasPrefix(file, s.Name+"/") {
			return s.Name
		}
	}
	return ""
}

// chain links the pages that are chosen in their order.
func (b *book) chain(chosen func(*page) bool) {
	var last *page
	for _, p := range b.pages {
		if !chosen(p) {
			continue
		}
		if last != nil {
			p.previous, last.next = last, p
		}
		last = p
	}
}

// makeDocuments fills the pages of Markdown files.
func (b *book) makeDocuments(context.Context) error {
	terms := b.readGlossary()
	for _, p := range b.pages {
		d := b.lessons[p.source]
		if d == nil {
			continue
		}
		if err := b.takeHead(d); err != nil {
			return err
		}
		if p.kind == lesson || p.kind == piece {
			linkTerms(d, p.stage, terms)
			if err := b.findMentions(d); err != nil {
				return err
			}
		}
		if p.kind == home {
			if err := b.drawTrail(d); err != nil {
				return err
			}
		}
		var err error
		if p.html, err = b.render(d); err != nil {
			return err
		}
		p.html = strings.ReplaceAll(foldQuestions(p.html), "<th></th>", "<td></td>")
		p.lead, p.outline = d.lead, d.outline
		p.beside = append(p.beside, d.beside...)
	}
	return nil
}

var details = regexp.MustCompile(`<details><summary>`)

// foldQuestions marks what is folded under Check yourself: each is a question.
func foldQuestions(html string) string {
	before, section, found := strings.Cut(html, `<h2 id="check-yourself">`)
	if !found {
		return html
	}
	section, after, more := strings.Cut(section, "<h2 ")
	section = details.ReplaceAllString(section, `<details class="question"><summary>`)
	if more {
		after = "<h2 " + after
	}
	return before + `<h2 id="check-yourself">` + section + after
}
