package main

import (
	"reflect"
	"testing"
)

func TestAPageIsSearchedBySection(t *testing.T) {
	p := &page{url: "06/index.html", title: "06 RabbitMQ", kind: lesson, stage: "06-rabbitmq", lead: "First &amp; last.",
		html: `<p>Before</p><p>any.</p><h2 id="one"><a class="anchor"></a>One <code>x</code></h2><p>a &lt; b</p><svg><text>drawn</text></svg><h3 id="two">Two</h3><ul><li>c</li><li>d</li></ul>`}
	want := []entry{
		{URL: "06/index.html", Page: "06 RabbitMQ", Kind: "lesson", Stage: "06-rabbitmq", Text: "First & last. Before any."},
		{URL: "06/index.html#one", Page: "06 RabbitMQ", Section: "One x", Kind: "lesson", Stage: "06-rabbitmq", Text: "a < b"},
		{URL: "06/index.html#two", Page: "06 RabbitMQ", Section: "Two", Kind: "lesson", Stage: "06-rabbitmq", Text: "c d"},
	}
	if got := entriesOf(p); !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func TestAQuestionElsewhereLeadsBackToItsLesson(t *testing.T) {
	b := &book{}
	l := &page{url: "06/index.html", html: `<h2 id="x">X</h2><details class="question"><summary>Why?</summary><p id="y">See <a href="#x">X</a>.</p></details><p>no</p>`}
	want := `<details class="question"><summary>Why?</summary><p>See <a href="book:06/index.html#x">X</a>.</p></details>`
	if got := b.questionList("", l); got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}
