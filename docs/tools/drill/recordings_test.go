package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// recordingsSize bounds all recordings together: the console holds them.
const recordingsSize = 300_000

// TestRecordingsShowWhatTheLessonsSay reads those that make recordings writes.
func TestRecordingsShowWhatTheLessonsSay(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(root, "final", "console", "page", "console")
	for name, loses := range map[string]bool{
		"02-commands-down":   true,
		"06-subscriber-down": true,
		"06-broker-crash":    true,
		"07-subscriber-down": false,
		"final-broker-crash": false,
	} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join(folder, name+".ndjson"))
			if err != nil {
				t.Fatal(err)
			}
			checkRecording(t, name, text, loses)
		})
	}
	files, err := filepath.Glob(filepath.Join(folder, "*.ndjson"))
	if err != nil {
		t.Fatal(err)
	}
	var size int64
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > recordingsSize {
		t.Errorf("they have %d bytes together, more than %d", size, recordingsSize)
	}
}

// recorded is a line of a recording.
type recorded struct {
	V       int
	Seq     int
	Time    time.Time
	Kind    string
	Subject string
	Content struct {
		Stage, State string
		Missing      *int
		Names        []string
		Added        []struct{ Name string }
		Hop          string
	}
}

func checkRecording(t *testing.T, name string, text []byte, loses bool) {
	t.Helper()
	var lines []recorded
	for row := range bytes.Lines(text) {
		var l recorded
		if err := json.Unmarshal(row, &l); err != nil {
			t.Fatalf("line %d: %v", len(lines)+1, err)
		}
		if l.V != 1 || l.Time.IsZero() || len(lines) > 0 && l.Seq <= lines[len(lines)-1].Seq {
			t.Fatalf("line %d has another version, no time, or a number out of order: %s", len(lines)+1, row)
		}
		lines = append(lines, l)
	}
	if stage, _, _ := strings.Cut(name, "-"); lines[0].Kind != "run" || lines[0].Content.Stage != stage {
		t.Errorf("it begins with %s of stage %s, want run of %s", lines[0].Kind, lines[0].Content.Stage, stage)
	}
	if !slices.ContainsFunc(lines, func(l recorded) bool { return l.Content.Hop == "stored" }) {
		t.Error("no platform is stored in it")
	}
	verdict := lines[len(lines)-1]
	if verdict.Kind != "fault" || verdict.Content.State != "ended" || verdict.Content.Missing == nil {
		t.Fatalf("it ends with %+v, want how many are missing", verdict)
	}
	missing := difference(listed(lines, "list/platforms"), listed(lines, "list/commands"))
	if !slices.Equal(missing, verdict.Content.Names) || len(missing) != *verdict.Content.Missing {
		t.Errorf("it says that %v are missing; by the lists %v are", verdict.Content.Names, missing)
	}
	if loses != (len(missing) > 0) {
		t.Errorf("%v are missing; is that a loss: %t", missing, loses)
	}
}

// listed returns the names that a list has had added.
func listed(lines []recorded, subject string) []string {
	var all []string
	for _, l := range lines {
		if l.Subject == subject {
			for _, added := range l.Content.Added {
				all = append(all, added.Name)
			}
		}
	}
	return all
}

func difference(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool { return slices.Contains(b, name) })
}
