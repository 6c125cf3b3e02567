package main

import (
	"context"
	"encoding/json"
	"html"
	"regexp"
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
	index, err := json.Marshal(entries)
	if err != nil {
		return err
	}
	b.assets["assets/search-index.js"] = append(append([]byte("var searchIndex = "), index...), ";\n"...)
	return nil
}

var (
	sectionHead = regexp.MustCompile(`(?s)<h[23] id="([^"]*)"[^>]*>(.*?)</h[23]>`)
	unsearched  = regexp.MustCompile(`(?s)<svg.*?</svg>|<figure class="picture">.*?</figure>|<!--.*?-->`)
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
