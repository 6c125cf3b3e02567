package main

import (
	"context"
	"fmt"
	"html"
	"regexp"
	"strings"
)

// speakerURL is the address of a stage's page for the instructor.
func speakerURL(stage string) string { return "speaker/" + stage + ".html" }

func (b *book) listSpeaker(context.Context) error {
	for _, s := range b.stages {
		if l := b.bySource[s.Name+"/README.md"]; l != nil {
			b.add(&page{url: speakerURL(s.Name), title: "To teach " + l.title, kind: list, stage: s.Name,
				lead: `For the instructor, to print: what to say, what to let people predict, and the questions with their answers.`})
		}
	}
	return nil
}

var (
	tableCell = regexp.MustCompile(`(?s)<td>(.*?)</td>`)
	predicted = regexp.MustCompile(`(?s)<p class="predict">.*?</p>`)
)

// makeSpeaker fills those pages: the row of the chapter in the workshop's script, the
// lesson's predictions and its questions. The workshop's guide leads to them.
func (b *book) makeSpeaker(context.Context) error {
	guide := b.bySource["docs/workshop.md"]
	if guide == nil {
		return nil
	}
	script := map[string][]string{}
	for row := range strings.SplitSeq(guide.html, "</tr>") {
		if cells := tableCell.FindAllStringSubmatch(row, -1); len(cells) == 4 {
			script[cells[0][1]] = []string{cells[1][1], cells[2][1], cells[3][1]}
		}
	}
	for _, s := range b.stages {
		p, l := b.byURL[speakerURL(s.Name)], b.bySource[s.Name+"/README.md"]
		if p == nil {
			continue
		}
		row := script[number(s.Name)]
		if row == nil {
			return fmt.Errorf("docs/workshop.md has no script for %s", s.Name)
		}
		var w strings.Builder
		part := func(id, title, body string) {
			if body != "" {
				fmt.Fprintf(&w, "<h2 id=\"%s\">%s</h2>\n%s\n", id, html.EscapeString(title), body)
				p.outline = append(p.outline, heading{2, id, title})
			}
		}
		part("say", "Say first", `<p class="lead">`+row[0]+"</p>")
		part("stuck", "Where people get stuck", "<p>"+row[1]+"</p>")
		part("predict", "Let them predict", b.fromLesson(l, strings.Join(predicted.FindAllString(l.html, -1), "\n")))
		part("exercises", "Exercises", b.exerciseList(s.Name, l))
		part("ask", "Ask at the end", "<p>"+row[2]+"</p>")
		part("questions", "Questions and answers", anyDetails.ReplaceAllLiteralString(b.questionList("", l), `<details open="open"`))
		p.html = w.String()
		p.beside = []link{{"book:" + l.url, "the lesson"}, {"book:" + guide.url, "the guide"}}
		guide.beside = append(guide.beside, link{"book:" + p.url, "to teach " + number(s.Name)})
	}
	return nil
}
