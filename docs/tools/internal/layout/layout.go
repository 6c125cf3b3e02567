// Package layout formats the output of the tools for a terminal of 80 columns.
package layout

import (
	"strings"
	"unicode/utf8"
)

// Width is the number of columns that a line may have.
const Width = 80

// Wrap breaks a line between words so that it fits. The lines after the first
// begin with indent.
func Wrap(line, indent string) string {
	words := strings.Split(line, " ")
	var b strings.Builder
	column := 0
	for i, word := range words {
		width := utf8.RuneCountInString(word)
		if i > 0 && word != "" && column+1+width > Width {
			b.WriteString("\n" + indent)
			column = len(indent)
		} else if i > 0 {
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += width
	}
	return b.String()
}

// Reflow wraps the paragraphs of a text, and the items of its lists. An indented line stays
// unchanged: it may be an example to copy.
func Reflow(text string) string {
	var lines []string
	joins := false // the last line is one of a paragraph
	for line := range strings.SplitSeq(text, "\n") {
		prose := line != "" && !strings.HasPrefix(line, " ")
		if prose && joins && !isItem(line) {
			lines[len(lines)-1] += " " + line
		} else {
			lines = append(lines, line)
		}
		joins = prose
	}
	for i, line := range lines {
		switch {
		case isItem(line):
			lines[i] = Wrap(line, "  ")
		case !strings.HasPrefix(line, " "):
			lines[i] = Wrap(line, "")
		}
	}
	return strings.Join(lines, "\n")
}

// isItem reports whether an item of a list begins with the line.
func isItem(line string) bool { return strings.HasPrefix(line, "- ") }
