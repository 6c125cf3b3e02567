package main

import (
	"context"
	"fmt"
	"html"
	"regexp"
	"strings"
)

// listLists lists the pages that are made of others.
func (b *book) listLists(context.Context) error {
	b.add(&page{url: "exercises.html", title: "Exercises", kind: list,
		lead: "All exercises, chapter by chapter. Each has tests that judge your solution, and hints to unfold one by one."})
	b.add(&page{url: "questions.html", title: "Questions", kind: list,
		lead: "All questions with which the chapters end. Answer each one before you unfold it."})
	return nil
}

// makeLists fills them.
func (b *book) makeLists(context.Context) error {
	b.fillList(b.byURL["exercises.html"], b.exerciseList)
	b.fillList(b.byURL["questions.html"], b.questionList)
	return nil
}

// fillList fills a page with what a stage has, under a heading for each.
func (b *book) fillList(p *page, of func(stage string, lesson *page) string) {
	var w strings.Builder
	for _, s := range b.stages {
		lesson := b.bySource[s.Name+"/README.md"]
		if lesson == nil {
			continue
		}
		items := of(s.Name, lesson)
		if items == "" {
			continue
		}
		id, title := "stage-"+s.Name, html.EscapeString(lesson.title)
		fmt.Fprintf(&w, `<h2 id="%s"><a class="anchor" href="#%[1]s" aria-label="Link to: %s"></a>%[2]s</h2>`+"\n%s"+`<p><a href="book:%s">The lesson</a></p>`+"\n", id, title, items, lesson.url)
		p.outline = append(p.outline, heading{2, id, lesson.title})
	}
	p.html = w.String()
}

func (b *book) exerciseList(stage string, _ *page) string {
	var w strings.Builder
	for _, e := range b.exercises {
		if e.page.stage == stage {
			fmt.Fprintf(&w, `<li><a href="book:%s">%s</a><br /><span class="level">%s</span></li>`+"\n", e.page.url, html.EscapeString(e.Title), html.EscapeString(e.Level))
		}
	}
	if w.Len() == 0 {
		return ""
	}
	return "<ul class=\"all\">\n" + w.String() + "</ul>\n"
}

var (
	question  = regexp.MustCompile(`(?s)<details class="question">.*?</details>`)
	localLink = regexp.MustCompile(`href="#`)
	ownID     = regexp.MustCompile(` id="[^"]*"`)
)

func (b *book) questionList(_ string, lesson *page) string {
	return b.fromLesson(lesson, strings.Join(question.FindAllString(lesson.html, -1), "\n"))
}

// fromLesson is a part of a lesson for another page: links inside the lesson lead there.
func (b *book) fromLesson(lesson *page, part string) string {
	return localLink.ReplaceAllLiteralString(ownID.ReplaceAllLiteralString(part, ""), `href="book:`+lesson.url+`#`)
}
