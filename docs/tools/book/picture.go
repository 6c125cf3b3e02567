package main

import (
	"fmt"
	"html"
	"path"
)

// picture is the HTML of a mermaid picture.
func (b *book) picture(source string) (string, error) {
	return `<figure class="picture"><pre class="mermaid" tabindex="0"><code>` + html.EscapeString(source) + `</code></pre></figure>`, nil
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
