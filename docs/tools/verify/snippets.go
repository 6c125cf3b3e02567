package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"microcomm/docs/tools/internal/markdown"
)

// checkSnippet returns an error unless the file that the block names has its lines in that
// order. Whitespace is folded; an elision stands for any lines.
func checkSnippet(root string, b *block) error {
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.File)))
	if err != nil {
		return fmt.Errorf("%s cannot be read", b.File)
	}
	rest := markdown.Fold(string(content))
	pieces := markdown.SplitElided(b.text)
	if len(pieces) == 0 {
		return fmt.Errorf("an empty snippet")
	}
	for _, piece := range pieces {
		at := strings.Index(rest, markdown.Fold(piece))
		if at < 0 {
			return missing(b.File, markdown.Fold(string(content)), piece)
		}
		rest = rest[at+len(markdown.Fold(piece))-1:] // the next one may begin with the space at its end
	}
	return nil
}

// missing says which line of a piece is not in the file.
func missing(file, content, piece string) error {
	for line := range strings.Lines(piece) {
		if strings.TrimSpace(line) != "" && !strings.Contains(content, markdown.Fold(line)) {
			return fmt.Errorf("not in %s: %s", file, strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("%s has each of these lines, but not one after the other here:\n%s", file, strings.TrimRight(piece, "\n"))
}
