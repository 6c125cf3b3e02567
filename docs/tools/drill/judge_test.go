package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// inBoth is a history in which one platform, a, was posted with an outcome and is in
// both services.
func inBoth(o outcome) history {
	return history{
		posts:     []post{{name: "a", outcome: o}},
		platforms: []platform{{1, "a"}},
		commands:  []platform{{1, "a"}},
	}
}

func TestJudgeFindsWhatIsMissingAndWhatIsTooMuch(t *testing.T) {
	tests := []struct {
		name    string
		history history
		wrong   string // what the verdict complains about
	}{
		{"an accepted platform that is in both services is right", inBoth(accepted), ""},
		{"an unknown platform may exist", inBoth(unknown), ""},
		{"an unknown platform may be nowhere", history{posts: []post{{name: "a"}}}, ""},
		{"a refused platform is nowhere", history{posts: []post{{name: "a", outcome: refused}}}, ""},
		{"an accepted platform that CommandsService lacks is missing and untold", history{
			posts:     []post{{name: "a", outcome: accepted}},
			platforms: []platform{{1, "a"}},
		}, "missing [a] untold [a]"},
		{"an accepted platform that PlatformService lacks is missing", history{
			posts:    []post{{name: "a", outcome: accepted}},
			commands: []platform{{1, "a"}},
		}, "missing [a]"},
		{"an accepted platform in neither service is missing", history{
			posts: []post{{name: "a", outcome: accepted}},
		}, "missing [a]"},
		{"an unknown platform that only CommandsService lacks is untold", history{
			posts:     []post{{name: "a"}},
			platforms: []platform{{1, "a"}},
		}, "untold [a]"},
		{"a platform that PlatformService created twice is duplicated", history{
			posts:     []post{{name: "a", outcome: accepted}},
			platforms: []platform{{1, "a"}, {2, "a"}},
			commands:  []platform{{1, "a"}},
		}, "duplicated [a]"},
		{"a platform that CommandsService stored twice is duplicated", history{
			posts:     []post{{name: "a", outcome: accepted}},
			platforms: []platform{{1, "a"}},
			commands:  []platform{{1, "a"}, {1, "a"}},
		}, "duplicated [a]"},
		{"an unknown platform must not exist twice", history{
			posts:     []post{{name: "a"}},
			platforms: []platform{{1, "a"}, {2, "a"}},
			commands:  []platform{{1, "a"}, {2, "a"}},
		}, "duplicated [a]"},
		{"a refused platform that exists is a phantom", inBoth(refused), "phantom [a]"},
		{"a platform that was never posted is a phantom", history{commands: []platform{{1, "a"}}}, "phantom [a]"},
		{"a platform under two ids is mismatched", history{
			posts:     []post{{name: "a", outcome: accepted}},
			platforms: []platform{{1, "a"}},
			commands:  []platform{{2, "a"}},
		}, "mismatched [a]"},
		{"platforms outside the load are not judged", history{
			ignore:    map[string]bool{"a": true},
			platforms: []platform{{1, "a"}, {2, "a"}},
			commands:  []platform{{3, "a"}},
			events:    []event{{1, "a"}, {1, "a"}},
		}, ""},
		{"the names are sorted", history{
			posts: []post{{name: "b", outcome: accepted}, {name: "c", outcome: accepted}, {name: "a", outcome: accepted}},
		}, "missing [a b c]"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			v := judge(test.history)
			wrong := ""
			for _, list := range []struct {
				what  string
				names []string
			}{{"missing", v.missing}, {"untold", v.untold}, {"duplicated", v.duplicated}, {"phantom", v.phantom}, {"mismatched", v.mismatched}} {
				if len(list.names) > 0 {
					wrong += fmt.Sprintf(" %s %v", list.what, list.names)
				}
			}
			if wrong != "" {
				wrong = wrong[1:]
			}
			if wrong != test.wrong {
				t.Errorf("got %q, want %q", wrong, test.wrong)
			}
		})
	}
}

func TestJudgeCountsOutcomesArrivalsAndEvents(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	v := judge(history{
		posts: []post{
			{name: "a", sent: at(0), done: at(10), outcome: accepted, attempts: 2},
			{name: "b", sent: at(0), done: at(20), outcome: accepted},
			{name: "c", sent: at(0), done: at(500), outcome: refused},
			{name: "d", sent: at(0), done: at(900)},
		},
		platforms: []platform{{1, "a"}, {2, "b"}},
		commands:  []platform{{1, "a"}, {2, "b"}},
		arrived:   map[string]time.Time{"a": at(5), "b": at(120)}, // a arrived before its response
		events:    []event{{1, "a"}, {1, "a"}},
	})
	if v.accepted != 2 || v.refused != 1 || v.unknown != 1 || v.arrived != 2 {
		t.Errorf("got %d accepted, %d refused, %d unknown, %d arrived", v.accepted, v.refused, v.unknown, v.arrived)
	}
	if v.retried != 1 {
		t.Errorf("got %d retried, want 1", v.retried)
	}
	if v.latency.n != 2 || v.latency.p50 != 10*time.Millisecond || v.latency.max != 20*time.Millisecond {
		t.Errorf("got latency %+v, want that of the accepted ones alone", v.latency)
	}
	if v.arrival.p50 != 0 || v.arrival.max != 100*time.Millisecond {
		t.Errorf("got arrival %+v, want the time since the response, and not less than 0", v.arrival)
	}
	if v.eventsSeen != 1 || v.eventsRepeated != 1 || v.eventsMissing != 1 {
		t.Errorf("got %d events seen, %d repeated, %d missing", v.eventsSeen, v.eventsRepeated, v.eventsMissing)
	}
}

func TestQuantiles(t *testing.T) {
	var d []time.Duration
	for ms := range 101 {
		d = append(d, time.Duration(ms)*time.Millisecond)
	}
	slices.Reverse(d)
	want := quantiles{n: 101, p50: 50 * time.Millisecond, p99: 99 * time.Millisecond, max: 100 * time.Millisecond}
	if got := quantilesOf(d); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := quantilesOf(nil); got != (quantiles{}) {
		t.Errorf("got %+v of nothing", got)
	}
}
