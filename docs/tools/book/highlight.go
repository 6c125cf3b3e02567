package main

import (
	"crypto/sha256"
	"html"
	"path"
	"strings"
	"sync"

	"github.com/alecthomas/chroma/v2"
	"github.com/alecthomas/chroma/v2/lexers"
)

// span is a stretch of code within one line. Its class is that of book.css, or empty.
type span struct {
	class, text string
	offset      int // in the file, in bytes
}

// highlights keeps what was highlighted: many files are the same in several stages.
type highlights struct{ done sync.Map }

// lines returns the lines of a file, without their line ends. The name says which
// language it is in.
func (h *highlights) lines(name, content string) ([][]span, error) {
	lexer := lexerOf(name)
	key := sha256.Sum256([]byte(lexer.Config().Name + "\x00" + content))
	if found, ok := h.done.Load(key); ok {
		return found.([][]span), nil
	}
	tokens, err := lexer.Tokenise(nil, content)
	if err != nil {
		return nil, err
	}
	lines := [][]span{nil}
	offset := 0
	for _, t := range tokens.Tokens() {
		class := classOf(t.Type)
		for text := t.Value; text != ""; {
			part, rest, more := strings.Cut(text, "\n")
			last := len(lines) - 1
			if n := len(lines[last]); part != "" && n > 0 && lines[last][n-1].class == class && class == "" {
				lines[last][n-1].text += part
			} else if part != "" {
				lines[last] = append(lines[last], span{class, part, offset})
			}
			offset += len(part)
			if more {
				offset++
				lines = append(lines, nil)
			}
			text = rest
		}
	}
	if strings.HasSuffix(content, "\n") || content == "" {
		lines = lines[:len(lines)-1]
	}
	h.done.Store(key, lines)
	return lines, nil
}

// lexerOf is the lexer for a file, by its name, or for the language of a code block.
// What it doesn't know isn't highlighted.
func lexerOf(name string) chroma.Lexer {
	base := strings.ToLower(path.Base(name))
	language := strings.TrimPrefix(path.Ext(base), ".")
	if language == "" || base == "go.mod" {
		language = base
	}
	known := map[string]string{
		"go": "go", "go.mod": "gomod", "work": "gomod", "proto": "protobuf", "sql": "sql",
		"yml": "yaml", "yaml": "yaml", "kustomization": "yaml", "json": "json", "ndjson": "json",
		"dockerfile": "docker", "makefile": "make", "sh": "bash", "run": "bash", "powershell": "powershell",
		"js": "javascript", "css": "css", "html": "html", "svg": "xml", "md": "markdown",
		"conf": "ini", "patch": "diff",
	}[language]
	if found := lexers.Get(known); known != "" && found != nil {
		return found
	}
	return lexers.Fallback
}

// classOf is the class of a kind of token. There are few, so that the page is calm.
func classOf(t chroma.TokenType) string {
	switch {
	case t.InCategory(chroma.Comment):
		return "c"
	case t == chroma.KeywordType || t == chroma.NameClass || t == chroma.NameBuiltin:
		return "t"
	case t.InCategory(chroma.Keyword):
		return "k"
	case t.InSubCategory(chroma.LiteralString):
		return "s"
	case t.InSubCategory(chroma.LiteralNumber):
		return "n"
	case t == chroma.NameFunction || t == chroma.NameTag || t == chroma.NameAttribute:
		return "f"
	}
	return ""
}

// writeSpans writes a line.
func writeSpans(w *strings.Builder, spans []span) {
	for _, s := range spans {
		if s.class == "" {
			w.WriteString(html.EscapeString(s.text))
			continue
		}
		w.WriteString(`<span class="` + s.class + `">` + html.EscapeString(s.text) + `</span>`)
	}
}

// highlighted is a whole text, highlighted.
func (b *book) highlighted(language, text string) (string, error) {
	lines, err := b.highlights.lines(language, text)
	if err != nil {
		return "", err
	}
	var w strings.Builder
	for i, line := range lines {
		if i > 0 {
			w.WriteByte('\n')
		}
		writeSpans(&w, line)
	}
	return w.String(), nil
}
