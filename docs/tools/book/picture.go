package main

import (
	"errors"
	"fmt"
	"html"
	"io/fs"
	"path"
	"regexp"
	"strings"
)

var pictureSize = regexp.MustCompile(`<svg[^>]*>`)

// picture is the HTML of a mermaid picture: an image for each theme, and the source, for
// those who can't see it. Without the images, which lab book --pictures draws, it is the source.
func (b *book) picture(source string) (string, error) {
	text := `<pre class="mermaid" tabindex="0"><code>` + html.EscapeString(source) + `</code></pre>`
	var w strings.Builder
	w.WriteString(`<figure class="picture">`)
	for _, theme := range themes {
		file := pictureDir + "/" + pictureName(source, theme)
		content, err := b.read(file)
		if errors.Is(err, fs.ErrNotExist) {
			b.undrawn++
			return `<figure class="picture">` + text + `</figure>`, nil
		}
		if err != nil {
			return "", err
		}
		b.assets[file] = []byte(content)
		root := pictureSize.FindString(content)
		fmt.Fprintf(&w, `<div class="drawn %s" tabindex="0" role="group" aria-label="Diagram"><img src="book:%s" alt="Diagram; its source follows as text" loading="lazy"%s%s /></div>`,
			theme, file, attribute(root, "width"), attribute(root, "height"))
	}
	w.WriteString(`<details class="source"><summary>The diagram as text</summary>` + text + `</details></figure>`)
	return w.String(), nil
}

// attribute is an attribute of a tag, as it stands there, with a space before it.
func attribute(tag, name string) string {
	return regexp.MustCompile(` ` + name + `="[^"]*"`).FindString(tag)
}

// imageTag is the HTML of an image file of the checkout, which goes along.
func (b *book) imageTag(file, text string) (string, error) {
	content, err := b.read(file)
	if err != nil {
		return "", err
	}
	b.assets[file] = []byte(content)
	return fmt.Sprintf(`<img src="book:%s" alt="%s" loading="lazy"%s />`, path.Clean(file), html.EscapeString(text), svgSize(content)), nil
}
