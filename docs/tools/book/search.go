package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// searchURL is the page that searches the others.
const searchURL = "search.html"

func (b *book) listSearch(context.Context) error {
	b.add(&page{url: searchURL, title: "Search", kind: search})
	return nil
}

// The index is a script, since a page that is opened as a file may not read other files.
const searchPage = `<noscript><p>The search needs JavaScript. Without it, the <a href="book:docs/index.html">map of the reference</a> and the
search of your browser lead on.</p></noscript>
<form class="searching" role="search" action="book:search.html"><label for="q">Words to look for</label>
<input id="q" name="q" type="search" autocomplete="off" autocapitalize="off" spellcheck="false" /></form>
<p class="found" role="status"></p>
<ol class="results"></ol>
<script src="book:assets/minisearch.js"></script>
<script src="book:assets/search-index.js"></script>
<script src="book:assets/search.js"></script>
`

// entry is a section of a page, as the search knows it.
type entry struct {
	ID      int    `json:"id"`
	URL     string `json:"url"`
	Page    string `json:"page"`
	Section string `json:"section,omitempty"`
	Kind    string `json:"kind"`
	Stage   string `json:"stage,omitempty"`
	Text    string `json:"text,omitempty"`
}

// makeSearch fills the search page and makes its index of all pages.
func (b *book) makeSearch(context.Context) error {
	b.byURL[searchURL].html = searchPage
	entries := []entry{}
	for _, p := range b.pages {
		if p.kind == search || p.kind == list || p.kind == printed {
			continue
		}
		for _, e := range entriesOf(p) {
			e.ID = len(entries)
			entries = append(entries, e)
		}
	}
	var stages []string
	for _, s := range b.stages {
		stages = append(stages, s.Name)
	}
	var script bytes.Buffer
	for _, part := range []struct {
		name  string
		value any
	}{{"searchIndex", entries}, {"searchStages", stages}, {"searchDeclarations", b.declarationIndex()}} {
		value, err := json.Marshal(part.value)
		if err != nil {
			return err
		}
		fmt.Fprintf(&script, "var %s = %s;\n", part.name, value)
	}
	b.assets["assets/search-index.js"] = script.Bytes()
	return nil
}

// declarationIndex are the declarations of all stages, without those of tests: by the path
// of their file in a stage, the name, the kind, and the places: "4:38 5:40" is line 38 in
// the stage at index 4 of the stages, and line 40 in the next.
func (b *book) declarationIndex() map[string][][3]string {
	index := map[string][][3]string{}
	for at, s := range b.stages {
		for dir, in := range b.declared {
			if !strings.HasPrefix(dir, s.Name+"/") || strings.Contains(dir, "/exercises/") {
				continue
			}
			for _, same := range in.all {
				for _, d := range same {
					if d.abstract || d.isTest() {
						continue
					}
					file := strings.TrimPrefix(d.file, s.Name+"/")
					name := d.name
					if d.receiver != "" {
						name = d.receiver + "." + name
					}
					place := fmt.Sprintf("%d:%d", at, d.line)
					known := slices.IndexFunc(index[file], func(other [3]string) bool { return other[0] == name && other[1] == d.kind })
					if known >= 0 {
						index[file][known][2] += " " + place
					} else {
						index[file] = append(index[file], [3]string{name, d.kind, place})
					}
				}
			}
		}
	}
	for _, one := range index {
		slices.SortFunc(one, func(a, b [3]string) int { return strings.Compare(a[0], b[0]) })
	}
	return index
}

var (
	sectionHead = regexp.MustCompile(`(?s)<h[23] id="([^"]*)"[^>]*>(.*?)</h[23]>`)
	unsearched  = regexp.MustCompile(`(?s)<svg.*?</svg>|<figure class="picture">.*?</figure>|<details class="solution">.*?</details>|<!--.*?-->`)
	anyTag      = regexp.MustCompile(`(?s)<[^>]*>`)
	blockEnd    = regexp.MustCompile(`</(p|li|td|th|pre|summary|figcaption)>`)
)

// entriesOf are the sections of a page. Of code and diffs, only the name is searched.
func entriesOf(p *page) []entry {
	first := entry{URL: p.url, Page: p.title, Kind: string(p.kind), Stage: p.stage}
	if p.kind == code || p.kind == diffs || p.kind == tree {
		return []entry{first}
	}
	body := unsearched.ReplaceAllLiteralString(p.html, "")
	heads := sectionHead.FindAllStringSubmatchIndex(body, -1)
	end := func(i int) int {
		if i < len(heads) {
			return heads[i][0]
		}
		return len(body)
	}
	first.Text = plainText(p.lead + " " + body[:end(0)])
	found := []entry{first}
	for i, h := range heads {
		e := first
		e.URL = p.url + "#" + body[h[2]:h[3]]
		e.Section, e.Text = plainText(body[h[4]:h[5]]), plainText(body[h[1]:end(i+1)])
		found = append(found, e)
	}
	return found
}

// plainText is the text of HTML, in one line.
func plainText(markup string) string {
	markup = blockEnd.ReplaceAllString(markup, " ")
	return strings.Join(strings.Fields(html.UnescapeString(anyTag.ReplaceAllLiteralString(markup, ""))), " ")
}
