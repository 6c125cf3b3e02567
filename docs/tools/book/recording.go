package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"html"
	"path"
	"strings"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/markdown"
	"microcomm/docs/tools/internal/player"
)

// recordings is the folder of the console's page, with its player and its recordings.
const recordings = "final/console/page/console"

//go:embed render/player.html
var playerPage string

// recordingsIn returns the players of the recordings to which a paragraph links: a figure
// for each, in which book.js opens the player once it is near.
func (r *documentRenderer) recordingsIn(paragraph ast.Node, source []byte) (string, error) {
	var figures strings.Builder
	for child := paragraph.FirstChild(); child != nil; child = child.NextSibling() {
		l, ok := child.(*ast.Link)
		if !ok {
			continue
		}
		file := path.Join(path.Dir(r.d.source), string(l.Destination))
		if path.Dir(file) != recordings || path.Ext(file) != ".ndjson" {
			continue
		}
		title := strings.ReplaceAll(markdown.PlainText(l, source), "\n", " ")
		url, err := r.b.addPlayer(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&figures, "<figure class=\"recording\"><a href=\"book:%s\" title=\"%s\">The player on a page of its own</a></figure>\n", url, html.EscapeString(title))
	}
	return figures.String(), nil
}

// addPlayer adds the page that plays a recording, and returns its address. The player and
// its recording are classic scripts, since a browser fetches nothing for a page that is a file.
func (b *book) addPlayer(file string) (string, error) {
	recording, err := b.read(file)
	if err != nil {
		return "", err
	}
	script, err := player.Script(b.path(recordings))
	if err != nil {
		return "", err
	}
	style, err := b.read(recordings + "/style.css")
	if err != nil {
		return "", err
	}
	// The theme is the book's, which the reader may have chosen.
	const system = "@media (prefers-color-scheme: dark) {\n  .mc, .mc-page {"
	before, after, found := strings.Cut(style, system)
	if !found {
		return "", fmt.Errorf("%s/style.css: no dark theme to follow the book's", recordings)
	}
	style = before + "@media all {\n  .dark .mc, .dark .mc-page {" + after
	quoted, err := json.Marshal(recording)
	if err != nil {
		return "", err
	}
	name := strings.TrimSuffix(path.Base(file), ".ndjson")
	b.assets["players/player.js"] = []byte(script)
	b.assets["players/player.css"] = []byte(style)
	b.assets["players/"+name+".js"] = []byte("var recording = " + string(quoted) + ";\n")
	b.assets["players/"+name+".html"] = []byte(strings.ReplaceAll(playerPage, "NAME", name))
	return "players/" + name + ".html", nil
}
