package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/exercise"
	"microcomm/docs/tools/internal/repo"
)

// Each lesson leads on: to the lessons beside it, and to the pages that a reader
// of it looks something up in. `lab verify docs` follows the links.
func TestEachChapterLeadsOn(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range stages {
		text, err := os.ReadFile(filepath.Join(s.Dir, "README.md"))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(string(text), "\n\n") // behind the title
		links, _, _ := strings.Cut(rest, "\n\n")
		number, _, _ := strings.Cut(s.Name, "-")
		previous, next := "../README.md", ""
		if i > 0 {
			previous = "../" + stages[i-1].Name + "/README.md"
		}
		if i+1 < len(stages) {
			next = "next: [" + stages[i+1].Name + "](../" + stages[i+1].Name + "/README.md)"
		}
		for _, want := range []string{
			"](" + previous + ")", next, "[glossary](../docs/glossary.md)", "[troubleshooting](../docs/troubleshooting.md)",
			"[requests](../docs/requests/" + number + ".http)", "](../docs/architecture.md#",
		} {
			if !strings.Contains(links, want) {
				t.Errorf("%s/README.md does not have %q below its title, but %q", s.Name, want, links)
			}
		}
		if problem := architectureOf(root, number, links); problem != "" {
			t.Errorf("%s/README.md: %s", s.Name, problem)
		}
	}
}

// architectureOf says what is wrong with the link to the page that shows one POST
// chapter by chapter: its heading names the chapter, or a range that has it.
func architectureOf(root, number, links string) string {
	anchor := regexp.MustCompile(`architecture\.md#([\w-]+)`).FindStringSubmatch(links)
	if anchor == nil {
		return "no link to its section of architecture.md"
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "architecture.md"))
	if err != nil {
		return err.Error()
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (.*)$`).FindAllStringSubmatch(string(text), -1) {
		if slug(heading[1]) != anchor[1] {
			continue
		}
		named, _, _ := strings.Cut(heading[1], ":")
		from, to, isRange := strings.Cut(named, " to ")
		if named == number || isRange && from <= number && number <= to {
			return ""
		}
		return fmt.Sprintf("the section %q is not that of the chapter", heading[1])
	}
	return "architecture.md has no section #" + anchor[1]
}

// slug is the anchor of a heading, as GitHub makes it.
func slug(heading string) string {
	heading = regexp.MustCompile(`[^\w -]`).ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

func TestTheGlossaryHasTheWordsOfTheLessons(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "glossary.md"))
	if err != nil {
		t.Fatal(err)
	}
	entries := strings.Join(regexp.MustCompile(`(?m)^\*\*.*?\*\*[^(:\n]*`).FindAllString(string(text), -1), "\n")
	for _, word := range []string{
		"Phantom", "Nack", "Lease", "Drain", "Twin", "Upsert", "Dual write", "Span", "Overlay", "SIGTERM", "Goroutine", "Mutant",
	} {
		if !strings.Contains(entries, word) {
			t.Errorf("the glossary does not explain %q", word)
		}
	}
}

// A slot of the workshop that names exercises is at least as long as the first of
// them says that it takes.
func TestTheWorkshopGivesAnExerciseItsTime(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "workshop.md"))
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	minutes := map[string]int{} // by exercise
	for _, s := range stages {
		exercises, err := exercise.List(root, s.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range exercises {
			took := regexp.MustCompile(`about (\d+) (minute|hour)`).FindStringSubmatch(e.Level)
			n, err := strconv.Atoi(took[1])
			if err != nil {
				t.Fatal(err)
			}
			if took[2] == "hour" {
				n *= 60
			}
			minutes[e.Name] = n
		}
	}
	slots := regexp.MustCompile(`(?m)^\| (\d+):(\d\d) \| (.*) \|$`).FindAllStringSubmatch(string(text), -1)
	at := func(slot []string) int {
		hours, _ := strconv.Atoi(slot[1])
		rest, _ := strconv.Atoi(slot[2])
		return 60*hours + rest
	}
	seen := 0
	for i, slot := range slots {
		named := regexp.MustCompile("exercise `([\\w-]+)`").FindStringSubmatch(slot[3])
		if named == nil {
			continue
		}
		seen++
		if needed := minutes[named[1]]; needed == 0 || i+1 == len(slots) || at(slots[i+1])-at(slot) < needed {
			t.Errorf("%s:%s has no %d minutes for %s", slot[1], slot[2], needed, named[1])
		}
	}
	if seen < 8 {
		t.Errorf("%d slots with an exercise", seen)
	}
}

func TestTheCardNamesExistingThings(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, "docs", "handout.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, command := range regexp.MustCompile("`go tool lab (\\w+)([^`]*)`").FindAllStringSubmatch(string(text), -1) {
		v, err := findVerb(command[1])
		if err == nil {
			_, err = v.parse(strings.Fields(command[2]))
		}
		if err != nil {
			t.Errorf("go tool lab %s%s: %v", command[1], command[2], err)
		}
	}
	for _, port := range usualPorts() {
		if !strings.Contains(string(text), port.number) || !strings.Contains(string(text), port.setting) {
			t.Errorf("the card lacks port %s (%s)", port.number, port.setting)
		}
	}
	if card, _, _ := strings.Cut(string(text), "# Predictions"); strings.Count(card, "\n") > 60 {
		t.Errorf("the card has %d lines: more than a page", strings.Count(card, "\n"))
	}
}

// A program that is built to be run, here, needs no stamp of git's: go build fails
// where git refuses the checkout, as it does one of another user.
func TestNoBuildAsksGit(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	listed, err := repo.Git(t.Context(), root, "grep", "-l", `"go", "build"`, "--", "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for file := range strings.Lines(listed) {
		file = strings.TrimSpace(file)
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(file)))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			isBuild := strings.Contains(line, `"go", "build", `) && !strings.HasSuffix(file, "lab_test.go") && !strings.HasSuffix(file, "lessons_test.go")
			if isBuild && !strings.Contains(line, "-buildvcs=false") {
				t.Errorf("%s builds without -buildvcs=false: %s", file, strings.TrimSpace(line))
			}
		}
	}
}
