package main

import (
	"embed"
	"fmt"
	"html"
	"html/template"
	"path"
	"strings"
)

//go:embed assets
var embedded embed.FS

// frame is what stands around each page.
type frame struct {
	b        *book
	template *template.Template
}

func (b *book) frame() (*frame, error) {
	f := &frame{b: b}
	t, err := template.New("layout.html").Funcs(template.FuncMap{
		"url":  func(to string) template.URL { return template.URL("book:" + to) },
		"raw":  func(text string) template.HTML { return template.HTML(text) },
		"href": func(to string) template.URL { return template.URL(to) },
	}).ParseFS(embedded, "assets/layout.html")
	if err != nil {
		return nil, fmt.Errorf("the layout of the pages: %w", err)
	}
	f.template = t
	return f, nil
}

// view is what the layout shows of a page.
type view struct {
	Title, Lead, Kind, Content string
	Number                     string // of the chapter, for its lesson and its diff
	Wave                       string // the way through the course, as SVG
	Home, Wide                 bool
	Nav, Side                  []sideLink // the parts of the book; the pages beside a reference
	Path                       []station
	Outline                    []section
	Beside                     []link
	Previous, Next             *sideLink
	Edit                       string
}

// section is a heading, and those below it.
type section struct {
	ID, Text string
	Below    []section
}

// sideLink is a link in a list of pages. Its URL is counted from the site's top.
type sideLink struct {
	URL, Text string
	Current   bool
}

// station is a stage on the way through the course.
type station struct {
	URL, Number, Title string
	Current, Passed    bool
	Below              []sideLink
}

// page is a page in its frame.
func (f *frame) page(p *page) (string, error) {
	v := view{
		Title: p.title, Lead: p.lead, Kind: string(p.kind), Content: p.html, Wide: p.wide,
		Path: f.path(p), Outline: sections(p.outline), Beside: p.beside, Home: p.kind == home,
	}
	if p.kind == lesson || p.kind == diffs && p.url == diffURL(p.stage) {
		v.Number = number(p.stage)
		if rest, found := strings.CutPrefix(p.title, v.Number+" "); found {
			v.Title = rest
		}
	}
	for i, s := range v.Path {
		if s.Current && (p.kind == lesson || p.kind == piece) {
			v.Wave = wave(len(v.Path), i)
		}
	}
	if p.previous != nil {
		v.Previous = &sideLink{URL: p.previous.url, Text: p.previous.title}
	}
	if p.next != nil {
		v.Next = &sideLink{URL: p.next.url, Text: p.next.title}
	}
	if f.b.repository != "" && p.source != "" {
		v.Edit = f.b.repository + "/edit/main/" + p.source
	}
	for _, l := range []sideLink{
		{"index.html", "Start", p.kind == home},
		{"docs/index.html", "Reference", p.kind == reference},
		{"exercises.html", "Exercises", p.url == "exercises.html" || p.kind == exercises},
		{"questions.html", "Questions", p.url == "questions.html"},
		{"code/final/index.html", "Code", p.kind == code || p.kind == tree},
	} {
		if f.b.byURL[l.URL] != nil {
			v.Nav = append(v.Nav, l)
		}
	}
	if p.kind == reference && p.stage == "" {
		for _, other := range f.b.pages {
			if other.kind == reference && other.stage == "" && path.Dir(other.url) == path.Dir(p.url) {
				v.Side = append(v.Side, sideLink{other.url, other.title, other == p})
			}
		}
	}
	var w strings.Builder
	if err := f.template.Execute(&w, v); err != nil {
		return "", err
	}
	return w.String(), nil
}

// path is the way through the stages, seen from a page.
func (f *frame) path(p *page) []station {
	var way []station
	current := -1
	for i, s := range f.b.stages {
		l := f.b.bySource[s.Name+"/README.md"]
		if l == nil {
			continue
		}
		if p.stage == s.Name {
			current = i
		}
		st := station{URL: l.url, Number: number(s.Name), Current: p.stage == s.Name}
		st.Title = strings.TrimPrefix(l.title, st.Number+" ")
		if st.Current {
			st.Below = f.below(p, s.Name)
		}
		way = append(way, st)
	}
	for i := range way {
		way[i].Passed = i < current
	}
	return way
}

// below are the pages of a stage.
func (f *frame) below(p *page, stage string) []sideLink {
	var links []sideLink
	for _, l := range f.b.stageLinks(stage, "") {
		links = append(links, sideLink{strings.TrimPrefix(l.URL, "book:"), l.Text, l.URL == "book:"+p.url})
	}
	return links
}

// stageLinks are the pages of a stage but the one called without.
func (b *book) stageLinks(stage, without string) []link {
	var links []link
	add := func(name, url string) {
		if name != without && b.byURL[url] != nil {
			links = append(links, link{"book:" + url, name})
		}
	}
	add("lesson", stage+"/index.html")
	for _, p := range b.pages {
		if p.kind == piece && p.stage == stage {
			add(p.title, p.url)
		}
	}
	add("what changes", stage+"/diff/index.html")
	add("code", treeURL(stage))
	for _, p := range b.pages {
		if p.kind == exercises && p.stage == stage {
			add("exercise: "+path.Base(path.Dir(p.url)), p.url)
		}
	}
	return links
}

// sections are the headings of the second and third level.
func sections(outline []heading) []section {
	var found []section
	for _, h := range outline {
		switch {
		case h.level == 2:
			found = append(found, section{ID: h.id, Text: h.text})
		case h.level == 3 && len(found) > 0:
			last := &found[len(found)-1]
			last.Below = append(last.Below, section{ID: h.id, Text: h.text})
		}
	}
	return found
}

// writeAssets writes the style, the scripts and the pictures.
func (b *book) writeAssets(dir string) error {
	entries, err := embedded.ReadDir("assets")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "layout.html" {
			continue
		}
		content, err := embedded.ReadFile("assets/" + e.Name())
		if err != nil {
			return err
		}
		if err := writeFile(dir, "assets/"+e.Name(), content); err != nil {
			return err
		}
	}
	for url, content := range b.assets {
		if err := writeFile(dir, url, content); err != nil {
			return err
		}
	}
	return nil
}

// svgSize gives an image of an SVG the size in its viewBox, so that the text does
// not move when it arrives.
func svgSize(svg string) string {
	_, box, found := strings.Cut(svg, `viewBox="0 0 `)
	box, _, closed := strings.Cut(box, `"`)
	width, height, two := strings.Cut(box, " ")
	if !found || !closed || !two {
		return ""
	}
	return fmt.Sprintf(` width="%s" height="%s"`, html.EscapeString(width), html.EscapeString(height))
}
