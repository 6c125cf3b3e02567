package markdown

import (
	"slices"
	"strings"
	"unicode"

	"github.com/yuin/goldmark/ast"
)

// PlainText returns the text of a heading without its markup.
func PlainText(n ast.Node, source []byte) string {
	var seen strings.Builder
	for child := n.FirstChild(); child != nil; child = child.NextSibling() {
		switch child := child.(type) {
		case *ast.Text:
			seen.Write(child.Segment.Value(source))
		case *ast.String:
			seen.Write(child.Value)
		default:
			seen.WriteString(PlainText(child, source))
		}
	}
	return seen.String()
}

// Slug is the anchor that GitHub makes of a heading: lower case, without
// punctuation, a dash for each space.
func Slug(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, strings.TrimSpace(heading))
}

// SplitElided returns the pieces between the lines that stand for others.
func SplitElided(text string) []string {
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

// Fold replaces each run of whitespace, and both ends, by one space.
func Fold(text string) string { return " " + strings.Join(strings.Fields(text), " ") + " " }
