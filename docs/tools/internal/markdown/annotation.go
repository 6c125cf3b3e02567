// Package markdown reads what the workbook adds to Markdown: the annotations of its code
// blocks, its snippets, and the anchors of its headings.
package markdown

import (
	"errors"
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
	words := word.FindAllStringSubmatch(rest, -1)
	if len(words) == 0 {
		return a, a.mayBeBare()
	}
	may, known := allowed[words[0][1]]
	if !known {
		return a, fmt.Errorf("unknown annotation %s", words[0][1])
	}
	a.Word = words[0][1]
	for i, w := range words {
		name, value := w[1], w[2]+w[3]
		if i > 0 && !slices.Contains(may, name) {
			return a, fmt.Errorf("%s does not go with %s", name, a.Word)
		}
		if err := a.read(name, value); err != nil {
			return a, err
		}
	}
	if a.Cluster && a.Kind == Free {
		a.Kind = Run
	}
	return a, a.check()
}

// isShellLanguage reports whether the language's blocks hold commands.
func (a Annotation) isShellLanguage() bool {
	return slices.Contains([]string{"sh", "bash", "shell", "zsh", "console", "powershell", "pwsh", "bat"}, a.Language)
}

// mayBeBare returns an error if a block of this language needs an annotation.
func (a Annotation) mayBeBare() error {
	switch {
	case a.isShellLanguage():
		return fmt.Errorf("a %s block says neither run, background, cluster nor manual", a.Language)
	case slices.Contains([]string{"go", "yaml", "yml", "sql", "proto", "dockerfile", "Dockerfile"}, a.Language):
		return fmt.Errorf("a %s block says neither file= nor sketch", a.Language)
	}
	return nil
}

// read reads one word, after those before it.
func (a *Annotation) read(name, value string) (err error) {
	switch name {
	case "run":
		if a.Kind != Background {
			a.Kind = Run
		}
	case "cluster":
		a.Cluster = true
	case "background":
		if a.Kind == Output {
			a.FromBackground = true
		} else {
			a.Kind = Background
		}
	case "manual":
		a.Kind = Manual
	case "output":
		a.Kind = Output
	case "file":
		a.Kind, a.File = Snippet, value
	case "exit":
		if a.Exit, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("exit=%s is not a number", value)
		}
	case "eventually":
		a.Eventually = true
	case "ready":
		a.Ready = value
	case "replaces":
		a.Replaces = 1
		if value == "" {
			return nil
		}
		if a.Replaces, err = strconv.Atoi(value); err != nil {
			return fmt.Errorf("replaces=%s is not a number", value)
		}
	case "reason":
		a.Reason = value
	case "partial":
		a.Partial = true
	}
	return nil
}

// check returns an error if what was read does not fit together.
func (a Annotation) check() error {
	switch {
	case a.IsShell() != a.isShellLanguage():
		return fmt.Errorf("%s does not go with the language %q", a.Word, a.Language)
	case (a.Kind == Run || a.Kind == Background) && a.Language != "sh" && a.Language != "bash":
		return fmt.Errorf("a %s block can only be manual", a.Language)
	case a.Kind == Background && a.Ready == "":
		return errors.New(`background needs ready="…"`)
	case a.Kind == Manual && a.Reason == "":
		return errors.New(`manual needs reason="…"`)
	case a.Kind == Snippet && a.File == "":
		return errors.New("file= names no file")
	}
	return nil
}
