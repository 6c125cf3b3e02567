package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/repo"
)

// A real drill of stage 02 loses platforms, as it expects to. The same drill with the
// expectation that nothing is lost must fail.
func TestADrillJudgesWhatTheFaultDid(t *testing.T) {
	ctx := t.Context()
	var out, progress strings.Builder
	recording := filepath.Join(t.TempDir(), "02-commands-down.ndjson")
	if err := command(ctx, []string{"02", "commands-down", "--short", "--json", "--record", recording}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), progress.String())
	}
	text, err := os.ReadFile(recording)
	if err != nil {
		t.Fatal(err)
	}
	checkRecording(t, "02-commands-down", text, true)
	var rep report
	if err := json.Unmarshal([]byte(out.String()), &rep); err != nil {
		t.Fatal(err)
	}
	if !rep.Passed || rep.Total.Accepted == 0 || rep.Total.Missing == 0 || rep.Total.Missing >= rep.Total.Accepted {
		t.Errorf("got passed %t with %d of %d missing, want some", rep.Passed, rep.Total.Missing, rep.Total.Accepted)
	}

	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	s, err := findStage(root, "02")
	if err != nil {
		t.Fatal(err)
	}
	d := &driller{root: root, dir: t.TempDir(), options: options{short: true}, progress: &progress}
	compiled, err := build(ctx, s, d.dir, &progress)
	if err != nil {
		t.Fatal(err)
	}
	rep = d.drill(ctx, compiled, drill{name: "wrong", run: commandsDown, expect: expectNothingLost})
	if rep.Passed || rep.Error != "" || !d.kept {
		t.Errorf("got passed %t, error %q, logs kept %t; want a failure that keeps the logs", rep.Passed, rep.Error, d.kept)
	}
	failed := slices.IndexFunc(rep.Checks, func(c check) bool { return c.Expected == "0 missing" && !c.OK })
	if failed < 0 {
		t.Errorf("got %+v, want 0 missing to have failed", rep.Checks)
	}
	rep = d.drill(ctx, compiled, drill{name: "dead", run: func(r *run) {
		_, commands := r.pair()
		r.prepare()
		must(get(os.FindProcess(commands.process.PID())).Kill()) // not by the drill
		<-commands.process.Done()
		r.expect("nothing", true, "")
	}})
	if rep.Passed || !strings.Contains(rep.Error, "ended unexpectedly") {
		t.Errorf("got passed %t, error %q, want that a service ended unexpectedly", rep.Passed, rep.Error)
	}
}

func TestAWrongCommandLineIsExplained(t *testing.T) {
	tests := map[string]string{
		"":                "drill needs a STAGE, or --compare",
		"99 x":            "unknown stage 99; the stages are 01-rest, ",
		"fnal":            "unknown stage fnal; did you mean final?",
		"docs --list":     "unknown stage docs; the stages are ",
		"01":              "01-rest has no drills; 02, 06, 07 and final have some",
		"06 fly":          "06-rabbitmq has no drill fly; its drills are commands-slow, subscriber-down, broker-crash",
		"06 broker-crahs": "06-rabbitmq has no drill broker-crahs; did you mean broker-crash?",
		"06 --list x":     "06-rabbitmq has no drill x; its drills are ",
		"06 --all --keys": "--keys is for final",
		"02 a b":          "unexpected argument b",
		"02 --fast":       "unknown flag --fast; see: go tool lab help drill",
		"02 --shrot":      "unknown flag --shrot; did you mean --short?",
		"06 --out x":      "--out is for --compare",
		"--compare 06":    "--compare goes without a STAGE",
		"06 --record x":   "--record goes with a STAGE and a NAME",
	}
	for line, want := range tests {
		var out strings.Builder
		err := command(t.Context(), strings.Fields(line), &out, &out)
		var usage cli.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
}

func TestEveryDrillNamesAnExistingStage(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, d := range drills() {
		s, err := findStage(root, d.stage)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := choose(s, []string{d.name}, false); err != nil || seen[d.stage+d.name] {
			t.Errorf("%s %s cannot be chosen, or exists twice: %v", d.stage, d.name, err)
		}
		seen[d.stage+d.name] = true
	}
}
