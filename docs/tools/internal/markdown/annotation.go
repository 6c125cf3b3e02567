// Package markdown reads what the workbook adds to Markdown: the annotations of its code
// blocks, its snippets, and the anchors of its headings.
package markdown

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Kind is what a code block is for.
type Kind int

// The kinds of code blocks.
const (
	Free       Kind = iota // an example or a sketch, compared with nothing
	Run                    // commands
	Background             // commands that continue in a separate terminal
	Manual                 // commands that no test runs
	Output                 // the output of the commands before it
	Snippet                // lines of a file
)

// Annotation is what a fence's info string says.
type Annotation struct {
	Kind     Kind
	Language string

	Exit       int    // of Run
	Eventually bool   // Run again until the output is as shown
	Ready      string // of Background
	Replaces   int    // how many backgrounds a Background ends first
	Cluster    bool
	Reason     string // of Manual
	File       string // of Snippet

	Partial        bool // of Output
	FromBackground bool
	Word           string // the first word: run, sketch, example…
}

// IsShell reports whether the block holds commands.
func (a Annotation) IsShell() bool {
	return a.Kind == Run || a.Kind == Background || a.Kind == Manual
}

// word is one of an info string: name, name=value or name="a value".
var word = regexp.MustCompile(`([^\s=]+)(?:=(?:"([^"]*)"|(\S*)))?`)

// allowed are the words that may follow each first word.
var allowed = map[string][]string{
	"run":        {"exit", "eventually", "cluster"},
	"background": {"ready", "replaces", "cluster"},
	"cluster":    {"exit", "eventually", "ready", "replaces", "run", "background"},
	"manual":     {"reason"},
	"output":     {"partial", "background"},
	"file":       {},
	"sketch":     {},
	"example":    {},
}

// ParseAnnotation reads a fence's info string.
func ParseAnnotation(info string) (Annotation, error) {
	language, rest, _ := strings.Cut(strings.TrimSpace(info), " ")
	a := Annotation{Language: language}
	shell := slices.Contains([]string{"sh", "bash", "shell", "zsh", "console", "powershell", "pwsh", "bat"}, language)
	code := slices.Contains([]string{"go", "yaml", "yml", "sql", "proto", "dockerfile", "Dockerfile"}, language)
	words := word.FindAllStringSubmatch(rest, -1)
	if len(words) == 0 {
		switch {
		case shell:
			return a, fmt.Errorf("a %s block says neither run, background, cluster nor manual", language)
		case code:
			return a, fmt.Errorf("a %s block says neither file= nor sketch", language)
		}
		return a, nil
	}
	may, known := allowed[words[0][1]]
	if !known {
		return a, fmt.Errorf("unknown annotation %s", words[0][1])
	}
	a.Word = words[0][1]
	background := false
	for i, w := range words {
		name, value := w[1], w[2]+w[3]
		if i > 0 && !slices.Contains(may, name) {
			return a, fmt.Errorf("%s does not go with %s", name, words[0][1])
		}
		switch name {
		case "run":
			a.Kind = Run
		case "cluster":
			a.Cluster = true
		case "background":
			if a.Kind == Output {
				a.FromBackground = true
			} else {
				background = true
			}
		case "manual":
			a.Kind = Manual
		case "output":
			a.Kind = Output
		case "file":
			a.Kind, a.File = Snippet, value
		case "exit":
			var err error
			if a.Exit, err = strconv.Atoi(value); err != nil {
				return a, fmt.Errorf("exit=%s is not a number", value)
			}
		case "eventually":
			a.Eventually = true
		case "ready":
			a.Ready = value
		case "replaces":
			a.Replaces = 1
			if value != "" {
				var err error
				if a.Replaces, err = strconv.Atoi(value); err != nil {
					return a, fmt.Errorf("replaces=%s is not a number", value)
				}
			}
		case "reason":
			a.Reason = value
		case "partial":
			a.Partial = true
		}
	}
	if a.Cluster && a.Kind == Free {
		a.Kind = Run
	}
	if background {
		a.Kind = Background
	}
	switch {
	case a.IsShell() != shell:
		return a, fmt.Errorf("%s does not go with the language %q", words[0][1], language)
	case (a.Kind == Run || a.Kind == Background) && language != "sh" && language != "bash":
		return a, fmt.Errorf("a %s block can only be manual", language)
	case a.Kind == Background && a.Ready == "":
		return a, fmt.Errorf(`background needs ready="…"`)
	case a.Kind == Manual && a.Reason == "":
		return a, fmt.Errorf(`manual needs reason="…"`)
	case a.Kind == Snippet && a.File == "":
		return a, fmt.Errorf("file= names no file")
	}
	return a, nil
}
