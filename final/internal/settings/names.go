package settings

import (
	"log/slog"
	"strings"
)

// Recorder remembers the names of the settings that a program has asked for.
type Recorder struct {
	lookup func(string) (string, bool)
	asked  map[string]bool
}

// NewRecorder returns a Recorder whose Lookup is lookup, os.LookupEnv except in tests.
func NewRecorder(lookup func(string) (string, bool)) *Recorder {
	return &Recorder{lookup: lookup, asked: map[string]bool{}}
}

// Lookup returns the value of a setting.
func (r *Recorder) Lookup(name string) (string, bool) {
	r.asked[name] = true
	return r.lookup(name)
}

// WarnMistyped warns of variables in environ, os.Environ() except in tests, that
// look like one of the settings and are none: they have no effect.
func (r *Recorder) WarnMistyped(environ []string, log *slog.Logger) {
	for _, variable := range environ {
		name, _, _ := strings.Cut(variable, "=")
		if meant := r.meant(name); meant != "" {
			log.Warn("unknown setting ignored", "name", name, "similar", meant)
		}
	}
}

// meant returns the setting that a name looks like, or "" if it is a setting or
// looks like none. OpenTelemetry has many more settings, which its library reads.
func (r *Recorder) meant(name string) string {
	if r.asked[name] || strings.HasPrefix(name, "OTEL_") {
		return ""
	}
	nearest, least := "", 4
	for known := range r.asked {
		most := 2
		if len(known) > 14 {
			most = 3 // ADDRESS for ADDR
		}
		d := distance(strings.ToUpper(strings.ReplaceAll(name, "-", "_")), known)
		if d <= most && (d < least || d == least && known < nearest) {
			nearest, least = known, d
		}
	}
	return nearest
}

// distance returns how many characters have to be added, removed or replaced to
// make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
