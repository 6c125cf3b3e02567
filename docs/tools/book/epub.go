package main

import (
	"archive/zip"
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"html"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// epubURL is the course as a file for e-readers.
const epubURL = "microcomm.epub"

//go:embed render/epub.css
var epubStyle string

var (
	anyRef   = regexp.MustCompile(` (href|src)="(book:)?([^"#]*)(#[^"]*)?"`)
	players  = regexp.MustCompile(`(?s)<figure class="recording">.*?</figure>\n`)
	darkOnly = regexp.MustCompile(`(?s)<div class="drawn dark".*?</div>`)
	drawnSVG = regexp.MustCompile(`(?s)<svg.*?</svg>|<source [^>]*>| tabindex="0"| loading="lazy"`)
)

// makeEPUB makes the EPUB of the lessons and exercises: https://www.w3.org/TR/epub-33/
func (b *book) makeEPUB(context.Context) error {
	pages := b.parts()
	name := map[string]string{}
	for _, p := range pages {
		name[p.url] = strings.NewReplacer("/", "-").Replace(strings.TrimSuffix(p.url, ".html")) + ".xhtml"
	}
	images := map[string]bool{}
	files := []epubFile{{name: "style.css", content: epubStyle}}
	for _, p := range pages {
		body := drawnSVG.ReplaceAllLiteralString(darkOnly.ReplaceAllLiteralString(p.html, ""), "")
		body = players.ReplaceAllLiteralString(body, "")
		body = anyRef.ReplaceAllStringFunc(body, func(found string) string {
			parts := anyRef.FindStringSubmatch(found)
			to, fragment := parts[3], parts[4]
			switch {
			case parts[1] == "src":
				images[to] = true
				return ` src="` + imageName(to) + `"`
			case name[to] != "":
				return ` href="` + name[to] + fragment + `"`
			case parts[2] == "" && (to == "" || strings.HasPrefix(to, "https://")):
				return found
			}
			return "" // code and diffs are in the site only
		})
		title := html.EscapeString(p.title)
		files = append(files, epubFile{name: name[p.url], title: title, content: epubPage(title, fmt.Sprintf("<h1>%s</h1>\n%s", title, body))})
	}
	files = append(files, epubFile{name: "nav.xhtml", content: epubNav(files)})
	for image := range images {
		content, found := b.assets[image]
		if !found {
			return fmt.Errorf("the EPUB: no image %s", image)
		}
		files = append(files, epubFile{name: imageName(image), content: string(content)})
	}
	slices.SortStableFunc(files, func(a, b epubFile) int { return strings.Compare(kindOfFile(a.name), kindOfFile(b.name)) })
	content, err := packEPUB(files)
	if err != nil {
		return err
	}
	b.assets[epubURL] = content
	return nil
}

// epubFile is a file of the EPUB; one with a title is a chapter.
type epubFile struct{ name, title, content string }

func imageName(file string) string { return "images/" + path.Base(file) }

// kindOfFile is the media type of a file.
func kindOfFile(name string) string {
	switch path.Ext(name) {
	case ".xhtml":
		return "application/xhtml+xml"
	case ".css":
		return "text/css"
	case ".svg":
		return "image/svg+xml"
	}
	return "image/" + strings.TrimPrefix(path.Ext(name), ".")
}

func epubPage(title, body string) string {
	return `<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE html>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops" lang="en" xml:lang="en">
<head><title>` + title + `</title><link rel="stylesheet" type="text/css" href="style.css" /></head>
<body>
` + body + `
</body>
</html>
`
}

// epubNav is the table of contents.
func epubNav(files []epubFile) string {
	var w strings.Builder
	for _, f := range files {
		if f.title != "" {
			fmt.Fprintf(&w, "<li><a href=\"%s\">%s</a></li>\n", f.name, f.title)
		}
	}
	return epubPage("Contents", "<nav epub:type=\"toc\" id=\"toc\"><h1>Contents</h1>\n<ol>\n"+w.String()+"</ol></nav>")
}

// packEPUB is the archive. Its first file says what it is, and is not compressed.
func packEPUB(files []epubFile) ([]byte, error) {
	var manifest, spine strings.Builder
	for i, f := range files {
		properties := ""
		if f.name == "nav.xhtml" {
			properties = ` properties="nav"`
		}
		fmt.Fprintf(&manifest, "<item id=\"f%d\" href=\"%s\" media-type=\"%s\"%s />\n", i, f.name, kindOfFile(f.name), properties)
		if f.title != "" {
			fmt.Fprintf(&spine, "<itemref idref=\"f%d\" />\n", i)
		}
	}
	opf := `<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id" xml:lang="en">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:microcomm:book</dc:identifier>
<dc:title>microcomm</dc:title>
<dc:language>en</dc:language>
<meta property="dcterms:modified">` + time.Now().UTC().Format("2006-01-02T15:04:05Z") + `</meta>
</metadata>
<manifest>
` + manifest.String() + `</manifest>
<spine>
` + spine.String() + `</spine>
</package>
`
	const container = `<?xml version="1.0" encoding="utf-8"?>
<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0">
<rootfiles><rootfile full-path="book/content.opf" media-type="application/oebps-package+xml" /></rootfiles>
</container>
`
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	const kind = "application/epub+zip"
	first, err := z.CreateHeader(&zip.FileHeader{Name: "mimetype", Method: zip.Store})
	if err != nil {
		return nil, err
	}
	if _, err := first.Write([]byte(kind)); err != nil {
		return nil, err
	}
	all := []epubFile{{name: "META-INF/container.xml", content: container}, {name: "book/content.opf", content: opf}}
	for _, f := range files {
		all = append(all, epubFile{name: "book/" + f.name, content: f.content})
	}
	for _, f := range all {
		w, err := z.Create(f.name)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.content)); err != nil {
			return nil, err
		}
	}
	err = z.Close() // writes the directory
	return out.Bytes(), err
}
