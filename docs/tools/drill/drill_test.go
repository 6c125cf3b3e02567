package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/repo"
)

// TestDrill runs a real drill of chapter 02, which loses platforms, as it expects
// to; and the same with the expectation that nothing is lost, which has to fail.
func TestDrill(t *testing.T) {
	ctx := t.Context()
	var out, progress strings.Builder
	if err := command(ctx, []string{"02", "commands-down", "--short", "--json"}, &out, &progress); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), progress.String())
	}
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
	if err := s.build(ctx, d.dir, &progress); err != nil {
		t.Fatal(err)
	}
	rep = d.drill(ctx, s, drill{name: "wrong", run: commandsDown, expect: expectNothingLost})
	if rep.Passed || rep.Error != "" || !d.kept {
		t.Errorf("got passed %t, error %q, logs kept %t; want a failure that keeps the logs", rep.Passed, rep.Error, d.kept)
	}
	failed := slices.IndexFunc(rep.Checks, func(c check) bool { return c.Expected == "0 missing" && !c.OK })
	if failed < 0 {
		t.Errorf("got %+v, want 0 missing to have failed", rep.Checks)
	}
	rep = d.drill(ctx, s, drill{name: "dead", run: func(ctx context.Context, r *run) error {
		if _, err := r.pair(); err != nil {
			return err
		}
		if err := r.prepare(ctx); err != nil {
			return err
		}
		process, err := os.FindProcess(r.commands[0].process.PID())
		if err != nil {
			return err
		}
		if err := process.Kill(); err != nil { // not by the drill
			return err
		}
		<-r.commands[0].process.Done()
		r.expect("nothing", true, "")
		return nil
	}})
	if rep.Passed || !strings.Contains(rep.Error, "ended by itself") {
		t.Errorf("got passed %t, error %q, want that a service ended by itself", rep.Passed, rep.Error)
	}
}

func TestWrongUsageNamesWhatIsWrong(t *testing.T) {
	tests := map[string]string{
		"":                "wrong usage",
		"99 x":            `there is no stage "99"`,
		"06 fly":          `has no drill "fly"`,
		"06 --all --keys": "only final knows keys",
		"06 --list x":     `has no drill "x"`,
		"02 a b":          "wrong usage",
		"02 --fast":       "-fast",
		"docs --list":     `there is no stage "docs"`,
		"--compare 06":    "wrong usage",
	}
	for line, want := range tests {
		var out strings.Builder
		err := command(t.Context(), strings.Fields(line), &out, &out)
		if !errors.Is(err, errUsage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
}

func TestEveryDrillNamesAStageThatIsThere(t *testing.T) {
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
		if got := named(forStage(drills(), s.name), d.name); len(got) != 1 || seen[d.stage+d.name] {
			t.Errorf("%s %s is not to be had, or twice", d.stage, d.name)
		}
		seen[d.stage+d.name] = true
	}
}
