package main

import (
	"errors"
	"fmt"
	"html"
	"image"
	_ "image/png" // for the size of an image
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

var pictureSize = regexp.MustCompile(`<svg[^>]*>`)

// picture is the HTML of a document's mermaid picture: an image for each theme, and the source, for
// those who can't see it. Without the images, which lab book --pictures draws, it is the source.
func (b *book) picture(document, source string) (string, error) {
	text := `<pre class="mermaid" tabindex="0"><code>` + html.EscapeString(source) + `</code></pre>`
	var w strings.Builder
	w.WriteString(`<figure class="picture">`)
	for _, theme := range themes {
		file := pictureDir + "/" + pictureName(source, theme)
		content, err := b.read(file)
		if errors.Is(err, fs.ErrNotExist) {
			kind, _, _ := strings.Cut(source, "\n")
			if name := fmt.Sprintf("%s: %s (%s)", document, kind, strings.TrimSuffix(pictureName(source, ""), "-.svg")); !slices.Contains(b.undrawn, name) {
				b.undrawn = append(b.undrawn, name)
			}
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
	url, size, err := b.imageFile(file)
	return fmt.Sprintf(`<img src="%s" alt="%s" loading="lazy"%s />`, url, html.EscapeString(text), size), err
}

// imageFile takes an image of the checkout along. It returns its address, and its size as
// attributes, so that the text does not move when it arrives.
func (b *book) imageFile(file string) (url, size string, err error) {
	content, err := b.read(file)
	if err != nil {
		return "", "", err
	}
	b.assets[file] = []byte(content)
	if path.Ext(file) == ".svg" {
		return "book:" + file, svgSize(content), nil
	}
	config, _, err := image.DecodeConfig(strings.NewReader(content))
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", file, err)
	}
	return "book:" + file, fmt.Sprintf(` width="%d" height="%d"`, config.Width, config.Height), nil
}
