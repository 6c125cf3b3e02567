package main

import (
	"fmt"
	"html"
	"strings"
)

// lives is what the stages have of each file, by its path inside a stage. A stage that
// doesn't have it has an empty text.
type lives struct {
	stages []string
	texts  map[string][]string
}

// findLives reads the files of all stages.
func (b *book) findLives() (lives, error) {
	l := lives{texts: map[string][]string{}}
	for i, s := range b.stages {
		l.stages = append(l.stages, s.Name)
		for _, p := range b.pages {
			if p.kind != code || p.stage != s.Name || strings.Contains(p.source, "/exercises/") {
				continue
			}
			text, err := b.read(p.source)
			if err != nil {
				return l, err
			}
			name := strings.TrimPrefix(p.source, s.Name+"/")
			if l.texts[name] == nil {
				l.texts[name] = make([]string, len(b.stages))
			}
			l.texts[name][i] = " " + strings.ReplaceAll(text, s.Module(), "microcomm/STAGE")
		}
	}
	return l, nil
}

// find is the stage of a file, and its texts.
func (l lives) find(file string) (stage int, texts []string) {
	top, name, _ := strings.Cut(file, "/")
	for i, s := range l.stages {
		if s == top {
			return i, l.texts[name]
		}
	}
	return 0, nil
}

// number is a stage's name in short: 06, or final.
func number(stage string) string {
	short, _, _ := strings.Cut(stage, "-")
	return short
}

// unchangedSince is the first stage from which on the file is as it is in this one.
func unchangedSince(texts []string, stage int) int {
	for stage > 0 && texts[stage-1] == texts[stage] {
		stage--
	}
	return stage
}

// since says since which stage a file is as it is.
func (l lives) since(file string) string {
	stage, texts := l.find(file)
	if texts == nil {
		return ""
	}
	first := unchangedSince(texts, stage)
	text := "since " + number(l.stages[first])
	if first == stage {
		text = "changed here"
		if stage == 0 || texts[stage-1] == "" {
			text = "new here"
		}
		return ` <span class="since here">` + text + `</span>`
	}
	return ` <span class="since">` + text + `</span>`
}

// of is a file's life through the stages: where it is new, changes and stays as it is.
func (l lives) of(b *book, file string) string {
	stage, texts := l.find(file)
	if texts == nil {
		return ""
	}
	_, name, _ := strings.Cut(file, "/")
	var w strings.Builder
	w.WriteString(`<ol class="life" aria-label="This file through the stages">`)
	for i, s := range l.stages {
		what := "unchanged"
		switch {
		case texts[i] == "" && i > 0 && texts[i-1] != "":
			what = "removed"
		case texts[i] == "":
			what = "absent"
		case i == 0 || texts[i-1] == "":
			what = "new"
		case texts[i-1] != texts[i]:
			what = "changed"
		}
		here := ""
		if i == stage {
			here = ` aria-current="page"`
		}
		if texts[i] == "" {
			fmt.Fprintf(&w, `<li class="%s"><span><b>%s</b> <i>%[1]s</i></span></li>`, what, number(s))
			continue
		}
		fmt.Fprintf(&w, `<li class="%s"><a href="book:%s"%s><b>%s</b> <i>%[1]s</i></a></li>`, what, html.EscapeString(codeURL(s+"/"+name)), here, number(s))
	}
	w.WriteString("</ol>\n")
	return w.String()
}
