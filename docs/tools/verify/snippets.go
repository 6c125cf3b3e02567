package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checkSnippet fails unless the block's lines are in the file that it names, in
// that order. Whitespace is folded; an elision stands for any lines.
func checkSnippet(root string, b *block) error {
	content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(b.file)))
	if err != nil {
		return fmt.Errorf("%s cannot be read", b.file)
	}
	rest := fold(string(content))
	pieces := splitElided(b.text)
	if len(pieces) == 0 {
		return fmt.Errorf("an empty snippet")
	}
	for _, piece := range pieces {
		at := strings.Index(rest, fold(piece))
		if at < 0 {
			return missing(b.file, fold(string(content)), piece)
		}
		rest = rest[at+len(fold(piece))-1:] // the next one may begin with the space at its end
	}
	return nil
}

// missing says which line of a piece is not in the file.
func missing(file, content, piece string) error {
	for line := range strings.Lines(piece) {
		if strings.TrimSpace(line) != "" && !strings.Contains(content, fold(line)) {
			return fmt.Errorf("not in %s: %s", file, strings.TrimSpace(line))
		}
	}
	return fmt.Errorf("%s has each of these lines, but not one after the other here:\n%s", file, strings.TrimRight(piece, "\n"))
}

// splitElided returns the pieces between the lines that stand for others.
func splitElided(text string) []string {
	pieces := []string{""}
	for line := range strings.Lines(text) {
		if slices.Contains([]string{"…", "// …", "# …", "-- …"}, strings.TrimSpace(line)) {
			pieces = append(pieces, "")
			continue
		}
		pieces[len(pieces)-1] += line
	}
	return slices.DeleteFunc(pieces, func(piece string) bool { return strings.TrimSpace(piece) == "" })
}

// fold makes one space of each run of whitespace, and of both ends.
func fold(text string) string { return " " + strings.Join(strings.Fields(text), " ") + " " }
