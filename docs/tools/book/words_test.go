package main

import (
	"slices"
	"strings"
	"testing"
)

// show puts brackets around the stretches of a line.
func show(line string, marks []stretch) string {
	var w strings.Builder
	at := 0
	for _, m := range marks {
		w.WriteString(line[at:m.start] + "[" + line[m.start:m.end] + "]")
		at = m.end
	}
	return w.String() + line[at:]
}

func TestWordsThatDifferAreMarked(t *testing.T) {
	for name, test := range map[string]struct{ del, ins, wantDel, wantIns []string }{
		"a word": {
			[]string{"api := &restAPI{store: store, log: log}"}, []string{"api := &restAPI{store: store, events: events, log: log}"},
			[]string{"api := &restAPI{store: store, log: log}"}, []string{"api := &restAPI{store: store, [events:] [events,] log: log}"},
		},
		"the line that is like it, not the first": {
			[]string{"log  *slog.Logger"}, []string{"commands *commandsClient", "log      *slog.Logger"},
			[]string{"log  *slog.Logger"}, []string{"commands *commandsClient", "log      *slog.Logger"},
		},
		"nothing in common": {
			[]string{"return nil"}, []string{"for range queue {"}, []string{"return nil"}, []string{"for range queue {"},
		},
		"letters of more than a byte": {
			[]string{"// größer als eins"}, []string{"// größer als zwei"}, []string{"// größer als [eins]"}, []string{"// größer als [zwei]"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			inDel, inIns := wordMarks(test.del, test.ins)
			var del, ins []string
			for i, line := range test.del {
				del = append(del, show(line, inDel[i]))
			}
			for i, line := range test.ins {
				ins = append(ins, show(line, inIns[i]))
			}
			if !slices.Equal(del, test.wantDel) || !slices.Equal(ins, test.wantIns) {
				t.Errorf("%q and %q, want %q and %q", del, ins, test.wantDel, test.wantIns)
			}
		})
	}
}

func TestASnippetIsFoundInItsFile(t *testing.T) {
	const file = "package x\n\nfunc a() {\n\tb()\n\tc()\n}\n\nfunc d() {\n\tb()\n\te()\n}\n"
	for name, test := range map[string]struct {
		snippet string
		want    []stretch
	}{
		"one piece":               {"b()\nc()", []stretch{{4, 6}}},
		"two pieces":              {"func a() {\n// …\ne()\n}", []stretch{{3, 4}, {10, 12}}},
		"whitespace is no matter": {"func d() { b()", []stretch{{8, 10}}},
		"not there":               {"f()", nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := locate(file, test.snippet); !slices.Equal(got, test.want) {
				t.Errorf("lines %v, want %v", got, test.want)
			}
		})
	}
}
