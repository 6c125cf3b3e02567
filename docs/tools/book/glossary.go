package main

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/text"

	"microcomm/docs/tools/internal/markdown"
)

const glossarySource = "docs/glossary.md"

// term is a word of the glossary.
type term struct {
	word   string
	id     string // of its entry
	means  string // in one line
	since  string // the number of the stage that shows it at work, or empty
	places *regexp.Regexp
}

// everyday are words that a reader knows, or that mean something else in most sentences.
var everyday = []string{
	"api", "alert", "channel", "confirm", "connection", "container", "contract", "controller", "docker", "event", "image", "log",
	"message", "node", "publisher", "repository", "rest", "secret", "service", "store", "token",
}

var glossaryEntry = regexp.MustCompile(`^([^(:]+?) ?(?:\((\w+)[^)]*\))?: (.*)$`)

// readGlossary gives each entry of the glossary an anchor, and returns its words, the
// longest first.
func (b *book) readGlossary() []term {
	d := b.lessons[glossarySource]
	if d == nil {
		return nil
	}
	var terms []term
	ids := map[string]bool{}
	for n := d.tree.FirstChild(); n != nil; n = n.NextSibling() {
		p, ok := n.(*ast.Paragraph)
		if !ok || !startsTopic(p) {
			continue
		}
		parts := glossaryEntry.FindStringSubmatch(strings.Join(strings.Fields(strings.ReplaceAll(markdown.PlainText(p, d.text), "\n", " ")), " "))
		if parts == nil {
			continue
		}
		id := "term-" + markdown.Slug(markdown.PlainText(p.FirstChild(), d.text))
		if ids[id] {
			continue // Service has two meanings
		}
		ids[id] = true
		p.SetAttributeString("id", []byte(id))
		for _, word := range strings.Split(parts[1], ", ") {
			if word = strings.TrimSpace(word); slices.Contains(everyday, strings.ToLower(word)) {
				continue
			}
			terms = append(terms, term{word, id, parts[3], parts[2], placesOf(word)})
		}
	}
	slices.SortStableFunc(terms, func(a, b term) int { return cmp.Compare(len(b.word), len(a.word)) })
	return terms
}

// placesOf finds a word, and its plural. Where it has more capitals than the first, as
// ClusterIP, they count.
func placesOf(word string) *regexp.Regexp {
	pattern := regexp.QuoteMeta(word)
	if strings.IndexFunc(word[1:], unicode.IsUpper) < 0 {
		pattern = "(?i)" + pattern
	}
	return regexp.MustCompile(`\b` + pattern + `(?:e?s)?\b`)
}

// linkTerms leads from the first use of each word of the glossary in a stage's document
// to its entry. Before the stage that shows the thing at work, a word means something
// else. Headings, code, links and tables stay as they are.
func linkTerms(d *parsed, stage string, terms []term) {
	known := map[string]bool{}
	for _, t := range terms {
		known[t.id] = known[t.id] || t.since != "" && regexp.MustCompile(`^\d+$|^final$`).MatchString(t.since) && t.since > number(stage)
	}
	var texts []*ast.Text
	_ = ast.Walk(d.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		switch n := n.(type) {
		case *ast.Heading, *ast.CodeSpan, *ast.Link, *ast.AutoLink, *ast.Image:
			return ast.WalkSkipChildren, nil
		case *ast.Text:
			if entering {
				texts = append(texts, n)
			}
		default:
			if n.Kind().String() == "Table" {
				return ast.WalkSkipChildren, nil
			}
		}
		return ast.WalkContinue, nil
	})
	for _, t := range texts {
		for t != nil {
			t = linkTerm(d, t, terms, known)
		}
	}
}

// linkTerm links the first word in a text that is not known yet, and returns the rest.
func linkTerm(d *parsed, t *ast.Text, terms []term, known map[string]bool) *ast.Text {
	value := t.Segment.Value(d.text)
	var found term
	var at []int
	for _, one := range terms {
		if known[one.id] {
			continue
		}
		if place := one.places.FindIndex(value); place != nil && (at == nil || place[0] < at[0]) {
			found, at = one, place
		}
	}
	if at == nil {
		return nil
	}
	known[found.id] = true
	start := t.Segment.Start
	part := func(from, to int) *ast.Text { return ast.NewTextSegment(text.NewSegment(start+from, start+to)) }
	link := ast.NewLink()
	link.Destination, link.Title = []byte("/"+glossarySource+"#"+found.id), []byte(found.means)
	link.SetAttributeString("class", []byte("term"))
	link.AppendChild(link, part(at[0], at[1]))
	rest := part(at[1], len(value))
	rest.SetSoftLineBreak(t.SoftLineBreak())
	rest.SetHardLineBreak(t.HardLineBreak())
	parent := t.Parent()
	parent.InsertBefore(parent, t, part(0, at[0]))
	parent.InsertBefore(parent, t, link)
	parent.ReplaceChild(parent, t, rest)
	return rest
}
