package main

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"microcomm/docs/tools/internal/layout"
	"microcomm/docs/tools/internal/legend"
)

// narrow fails for a line wider than a terminal of 80 columns.
func narrow(t *testing.T, what, output string) {
	t.Helper()
	for line := range strings.Lines(output) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > layout.Width {
			t.Errorf("%s: a line of %d columns: %s", what, n, line)
		}
	}
}

func TestReportFitsATerminal(t *testing.T) {
	many := figure{"both CommandsServices", 123456, 123456, 123456, 123456, 123456, 123456, 123456, 123456, times{1234.5, 12345.6, 12345.6}, times{1234, 12345, 12345}}
	names := []string{"drill-1-000001", "drill-1-000002", "drill-1-000003", "drill-1-000004"}
	rep := report{
		Stage: "06-rabbitmq", Drill: "subscriber-down", Does: strings.Repeat("CommandsService is killed, and started again. ", 5), Keys: true, Short: true,
		Phases: []figure{{Name: before}, many}, Total: many, Events: &events{123456, 123456, 123456}, Names: names4(names),
		Facts:  []fact{{"Figure of one drill", strings.Repeat("a word ", 30)}},
		Checks: []check{{Expected: strings.Repeat("a word ", 20), Got: strings.Repeat("a word ", 20)}},
		Error:  strings.Repeat("a word ", 30),
	}
	var out bytes.Buffer
	rep.write(&out)
	rep.Skipped = strings.Repeat("a word ", 30)
	rep.write(&out)
	summarise(&out, []report{{Stage: "final", Drill: "network-database", Keys: true, Total: many}, rep})
	narrow(t, "the report", out.String())
	narrow(t, "the legend", legend.Text)
	for _, what := range []string{"accepted", "arrival p50", "both CommandsServices", "123456"} {
		if !strings.Contains(out.String(), what) {
			t.Errorf("the report lacks %q", what)
		}
	}
}

func names4(of []string) names { return names{of, of, of, of, of} }

func TestDrillsOfAStageAreListedAndFitATerminal(t *testing.T) {
	for stage, want := range map[string]string{"06": "broker-crash", "final": "platforms-crash"} {
		var out bytes.Buffer
		if err := command(t.Context(), []string{stage}, &out, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), want) {
			t.Errorf("drill %s does not list %s:\n%s", stage, want, out.String())
		}
		narrow(t, "drill "+stage, out.String())
	}
}

// The sheet on which a workshop predicts the results of drills names existing ones.
func TestThePredictionsAreOfDrillsThatExist(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "handout.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile("`lab drill (\\w+) ([\\w-]+)`").FindAllStringSubmatch(string(text), -1)
	if len(found) < 6 {
		t.Fatalf("%d drills", len(found))
	}
	for _, names := range found {
		s, err := findStage(filepath.Join("..", "..", ".."), names[1])
		if err != nil {
			t.Fatal(err)
		}
		if _, err := choose(s, names[2:3], false); err != nil {
			t.Errorf("%s has no drill %s", s.Name, names[2])
		}
	}
}

// The row "all" is the sum of the others, both of what was sent and of what was found.
func TestTheRowsOfTheTableAddUp(t *testing.T) {
	begun := time.Now()
	r := &run{system: &system{}, phases: []phase{{before, begun.Add(time.Second)}, {fault, begun.Add(2 * time.Second)}, {after, begun.Add(3 * time.Second)}, {fault, begun.Add(4 * time.Second)}}}
	for i := range 50 { // the first ten before the first phase
		outcome := []outcome{accepted, accepted, refused, unknown, accepted}[i%5]
		at := begun.Add(time.Duration(i) * 100 * time.Millisecond)
		p := post{name: fmt.Sprint("p", i), begun: at, sent: at, done: at, outcome: outcome, attempts: 1}
		r.history.posts = append(r.history.posts, p)
		if i%7 != 0 {
			r.history.platforms = append(r.history.platforms, platform{int32(i), p.name})
		}
		if i%6 != 0 {
			r.history.commands = append(r.history.commands, platform{int32(i), p.name})
		}
		if i%11 == 0 {
			r.history.commands = append(r.history.commands, platform{int32(100 + i), p.name})
		}
	}
	r.history.platforms = append(r.history.platforms, platform{200, "never sent"}, platform{201, "never sent, twice"}, platform{202, "never sent, twice"})
	r.verdict = judge(r.history)
	rep := r.result(drill{name: "test"}, nil, time.Second)
	columns := func(f figure) map[string]int {
		return map[string]int{"accepted": f.Accepted, "refused": f.Refused, "unknown": f.Unknown, "arrived": f.Arrived,
			"missing": f.Missing, "untold": f.Untold, "duplicated": f.Duplicated, "phantom": f.Phantom}
	}
	sums := map[string]int{}
	for _, f := range rep.Phases {
		for name, n := range columns(f) {
			sums[name] += n
		}
	}
	all := columns(rep.Total)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name] == 0 || sums[name] != all[name] {
			t.Errorf("%s: the rows have %d, all has %d", name, sums[name], all[name])
		}
	}
}

func TestLegendExplainsTheTable(t *testing.T) {
	var out strings.Builder
	report{Phases: []figure{{Name: before}}}.write(&out)
	heads := regexp.MustCompile(`(?m)^ +(accepted|POST) .*$`).FindAllString(out.String(), -1)
	if len(heads) != 2 {
		t.Fatalf("no tables:\n%s", out.String())
	}
	for _, word := range strings.Fields(strings.Join(heads, " ")) {
		if word != "ms" && !strings.Contains(legend.Text, word) {
			t.Errorf("the legend does not explain %s", word)
		}
	}
}

// A lesson shows each check of a drill on one line, so it has to fit one.
func TestLessonsQuoteChecksThatFit(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "*", "README.md"))
	if err != nil || len(files) < 8 {
		t.Fatalf("%d lessons (error: %v)", len(files), err)
	}
	for _, file := range files {
		lesson, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range regexp.MustCompile(`(?m)^(?:ok  |FAIL)  expected .*$`).FindAllString(string(lesson), -1) {
			narrow(t, file, line)
		}
	}
}
