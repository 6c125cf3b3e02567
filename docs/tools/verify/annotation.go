package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kind is what a block is for.
type kind int

const (
	freeBlock kind = iota
	runBlock
	backgroundBlock
	manualBlock
	outputBlock
	snippetBlock
)

// annotation is what a fence's info string says.
type annotation struct {
	kind     kind
	language string

	exit       int    // of a run block
	eventually bool   // run again until the output is as shown
	ready      string // of a background
	replaces   int    // how many backgrounds a background ends first
	cluster    bool
	reason     string // of a manual block
	file       string // of a snippet

	partial        bool // of an output
	fromBackground bool
}

// isShell reports whether the block holds commands.
func (a annotation) isShell() bool {
	return a.kind == runBlock || a.kind == backgroundBlock || a.kind == manualBlock
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

// parseAnnotation reads an info string.
func parseAnnotation(info string) (annotation, error) {
	language, rest, _ := strings.Cut(strings.TrimSpace(info), " ")
	a := annotation{language: language}
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
	background := false
	for i, w := range words {
		name, value := w[1], w[2]+w[3]
		if i > 0 && !slices.Contains(may, name) {
			return a, fmt.Errorf("%s does not go with %s", name, words[0][1])
		}
		switch name {
		case "run":
			a.kind = runBlock
		case "cluster":
			a.cluster = true
		case "background":
			if a.kind == outputBlock {
				a.fromBackground = true
			} else {
				background = true
			}
		case "manual":
			a.kind = manualBlock
		case "output":
			a.kind = outputBlock
		case "file":
			a.kind, a.file = snippetBlock, value
		case "exit":
			var err error
			if a.exit, err = strconv.Atoi(value); err != nil {
				return a, fmt.Errorf("exit=%s is not a number", value)
			}
		case "eventually":
			a.eventually = true
		case "ready":
			a.ready = value
		case "replaces":
			a.replaces = 1
			if value != "" {
				var err error
				if a.replaces, err = strconv.Atoi(value); err != nil {
					return a, fmt.Errorf("replaces=%s is not a number", value)
				}
			}
		case "reason":
			a.reason = value
		case "partial":
			a.partial = true
		}
	}
	if a.cluster && a.kind == freeBlock {
		a.kind = runBlock
	}
	if background {
		a.kind = backgroundBlock
	}
	switch {
	case a.isShell() != shell:
		return a, fmt.Errorf("%s does not go with the language %q", words[0][1], language)
	case (a.kind == runBlock || a.kind == backgroundBlock) && language != "sh" && language != "bash":
		return a, fmt.Errorf("a %s block can only be manual", language)
	case a.kind == backgroundBlock && a.ready == "":
		return a, fmt.Errorf(`background needs ready="…"`)
	case a.kind == manualBlock && a.reason == "":
		return a, fmt.Errorf(`manual needs reason="…"`)
	case a.kind == snippetBlock && a.file == "":
		return a, fmt.Errorf("file= names no file")
	}
	return a, nil
}
