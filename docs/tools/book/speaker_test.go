package main

import (
	"strings"
	"testing"
)

func TestEachStageHasASpeakersPage(t *testing.T) {
	b := checkout(t)
	if err := b.listSpeaker(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.makeDocuments(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.makeSpeaker(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, s := range b.stages {
		text := b.byURL[speakerURL(s.Name)].html
		for _, want := range []string{`id="say"`, `id="stuck"`, `id="ask"`, `<details open="open" class="question">`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %s:\n%s", s.Name, want, text)
			}
		}
	}
}
