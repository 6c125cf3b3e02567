package main

import (
	"archive/zip"
	"bytes"
	"encoding/xml"
	"io"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestTheEPUBIsWhatEReadersExpect(t *testing.T) {
	b := checkout(t)
	b.assets["docs/x-light.svg"] = []byte(`<svg xmlns="http://www.w3.org/2000/svg"/>`)
	b.pages = []*page{
		{url: "01/index.html", title: "01 A & B", kind: lesson, html: `<p>See <a href="book:02/index.html#x">02</a> and <a href="book:code/a.html">a file</a>.</p><div class="drawn light" tabindex="0"><img src="book:docs/x-light.svg" alt="" loading="lazy" /></div><div class="drawn dark"><img src="book:docs/x-dark.svg" alt="" /></div>`},
		{url: "02/index.html", title: "02", kind: lesson, html: `<h2 id="x">X</h2>`},
		{url: "faq.html", title: "no lesson", kind: reference, html: `<br>`},
	}
	if err := b.makeEPUB(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkEPUB(t, b.assets[epubURL], 2)
}

// checkEPUB checks the archive: what says its type is first, all of it is well-formed,
// and every link leads to a file in it.
func checkEPUB(t *testing.T, content []byte, chapters int) {
	t.Helper()
	if !bytes.HasPrefix(content[30:], []byte("mimetypeapplication/epub+zip")) {
		t.Errorf("it begins with %q", content[:64])
	}
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	files, pages, ids, fragments := map[string]bool{}, 0, map[string]bool{}, map[string]string{}
	for _, f := range z.File {
		files[f.Name] = true
		if path.Ext(f.Name) == ".xhtml" {
			pages++
		}
	}
	if pages != chapters+1 {
		t.Errorf("%d pages, want %d and the contents", pages, chapters)
	}
	for _, f := range z.File {
		if ext := path.Ext(f.Name); ext != ".xhtml" && ext != ".opf" && ext != ".xml" && ext != ".svg" {
			continue
		}
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		for d := xml.NewDecoder(r); ; {
			token, err := d.Token()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", f.Name, err)
				break
			}
			start, ok := token.(xml.StartElement)
			if !ok || path.Ext(f.Name) == ".svg" {
				continue
			}
			for _, a := range start.Attr {
				if a.Name.Local == "id" {
					ids[f.Name+"#"+a.Value] = true
				}
				if a.Name.Local != "href" && a.Name.Local != "src" {
					continue
				}
				to, err := url.Parse(a.Value)
				if err != nil || to.Scheme == "" && to.Path != "" && !files[path.Join(path.Dir(f.Name), to.Path)] {
					t.Errorf("%s: %s leads nowhere (error: %v)", f.Name, a.Value, err)
				} else if strings.HasPrefix(a.Value, "book:") {
					t.Errorf("%s: %s", f.Name, a.Value)
				} else if to.Scheme == "" && to.Fragment != "" {
					file := f.Name
					if to.Path != "" {
						file = path.Join(path.Dir(f.Name), to.Path)
					}
					fragments[file+"#"+to.Fragment] = f.Name
				}
			}
		}
		r.Close()
	}
	for to, from := range fragments {
		if !ids[to] {
			t.Errorf("%s: no anchor %s", from, to)
		}
	}
}
