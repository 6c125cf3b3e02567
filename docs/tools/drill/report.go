package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"microcomm/docs/tools/internal/layout"
)

// report is the result of a drill, as --json writes it.
type report struct {
	Stage   string   `json:"stage"`
	Drill   string   `json:"drill"`
	Does    string   `json:"does"`
	Passed  bool     `json:"passed"`
	Error   string   `json:"error,omitempty"` // why it stopped early
	Skipped string   `json:"skipped,omitempty"`
	Seconds float64  `json:"seconds"`
	Keys    bool     `json:"keys"`
	Short   bool     `json:"short"`
	Phases  []figure `json:"phases"`
	Total   figure   `json:"total"`
	Events  *events  `json:"events,omitempty"`
	Names   names    `json:"names"`
	Facts   []fact   `json:"facts"`
	Checks  []check  `json:"checks"`
}

// figure is a line of the table. Times are in milliseconds.
type figure struct {
	Name       string `json:"name"`
	Accepted   int    `json:"accepted"`
	Refused    int    `json:"refused"`
	Unknown    int    `json:"unknown"`
	Arrived    int    `json:"arrived"`
	Missing    int    `json:"missing"`
	Untold     int    `json:"untold"`
	Duplicated int    `json:"duplicated"`
	Phantom    int    `json:"phantom"`
	Post       times  `json:"post"`
	Arrival    times  `json:"arrival"`
}

// times are quantiles in milliseconds.
type times struct {
	P50 float64 `json:"p50Ms"`
	P99 float64 `json:"p99Ms"`
	Max float64 `json:"maxMs"`
}

func toTimes(q quantiles) times {
	return times{milliseconds(q.p50), milliseconds(q.p99), milliseconds(q.max)}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// events is what the second subscriber received.
type events struct {
	Seen     int `json:"seen"`     // different platforms
	Repeated int `json:"repeated"` // received again
	Missing  int `json:"missing"`  // accepted, and not received
}

// names lists the platforms with a problem, the first few of each kind.
type names struct {
	Missing    []string `json:"missing,omitempty"`
	Untold     []string `json:"untold,omitempty"`
	Duplicated []string `json:"duplicated,omitempty"`
	Phantom    []string `json:"phantom,omitempty"`
	Mismatched []string `json:"mismatched,omitempty"`
}

// result makes the report of a run that has ended, early if err is not nil.
func (r *run) result(d drill, err error, took time.Duration) report {
	v := r.verdict
	rep := report{
		Stage: r.stage.Name, Drill: d.name, Does: d.does, Seconds: took.Round(100 * time.Millisecond).Seconds(),
		Keys: len(r.loads) > 0 && r.loads[0].cfg.keys, Short: r.options.short, Facts: r.facts, Checks: r.checks,
		Total: figure{
			Name: "all", Accepted: v.accepted, Refused: v.refused, Unknown: v.unknown, Arrived: v.arrived,
			Missing: len(v.missing), Untold: len(v.untold), Duplicated: len(v.duplicated), Phantom: len(v.phantom),
			Post: toTimes(v.latency), Arrival: toTimes(v.arrival),
		},
		Names: names{few(v.missing), few(v.untold), few(v.duplicated), few(v.phantom), few(v.mismatched)},
	}
	if v.hasEvents {
		rep.Events = &events{v.eventsSeen, v.eventsRepeated, v.eventsMissing}
	}
	for i, ph := range r.phases {
		if slices.ContainsFunc(r.phases[:i], func(earlier phase) bool { return earlier.name == ph.name }) {
			continue // the line of the first phase of that name has its figures
		}
		if posts := r.in(ph.name); len(posts) > 0 {
			rep.Phases = append(rep.Phases, r.figure(ph.name, posts))
		}
	}
	if f := r.neverSent(); f.Untold+f.Duplicated+f.Phantom > 0 {
		rep.Phases = append(rep.Phases, f)
	}
	rep.Passed = err == nil && len(r.checks) > 0
	for _, c := range r.checks {
		rep.Passed = rep.Passed && c.OK
	}
	if err != nil {
		rep.Error = err.Error()
	}
	return rep
}

// figure is the line for some of the posts.
func (r *run) figure(name string, posts []post) figure {
	h := r.history
	h.posts = posts
	v := judge(h) // it judges all names; only those of these posts count
	among := map[string]bool{}
	for _, p := range posts {
		among[p.name] = true
	}
	count := func(names []string) int {
		n := 0
		for _, name := range names {
			if among[name] {
				n++
			}
		}
		return n
	}
	return figure{
		Name: name, Accepted: v.accepted, Refused: v.refused, Unknown: v.unknown, Arrived: v.arrived,
		Missing: len(v.missing), Untold: count(v.untold), Duplicated: count(v.duplicated), Phantom: count(v.phantom),
		Post: toTimes(v.latency), Arrival: toTimes(v.arrival),
	}
}

// neverSent is the line for names that a service has and no POST had.
func (r *run) neverSent() figure {
	sent := map[string]bool{}
	for _, p := range r.history.posts {
		sent[p.name] = true
	}
	count := func(names []string) int {
		return len(slices.DeleteFunc(slices.Clone(names), func(name string) bool { return sent[name] }))
	}
	v := r.verdict
	return figure{Name: "never sent", Untold: count(v.untold), Duplicated: count(v.duplicated), Phantom: count(v.phantom)}
}

func few(names []string) []string { return names[:min(len(names), 20)] }

// write prints the report for people, in lines that fit a terminal.
func (rep report) write(w io.Writer) {
	var b strings.Builder
	rep.print(&b)
	writeWrapped(w, b.String())
}

func writeWrapped(w io.Writer, text string) {
	for line := range strings.Lines(text) {
		line, end, _ := strings.Cut(line, "\n")
		fmt.Fprintf(w, "%s\n%s", layout.Wrap(line, "      "), end)
	}
}

func (rep report) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s %s: %s\n", rep.Stage, rep.Drill, rep.Does)
	if rep.Short {
		fmt.Fprintln(w, "Short: a fifth of the time and fewer counts; how long things take is not judged.")
	}
	if rep.Keys {
		fmt.Fprintln(w, "Clients retry a POST without a response, with an Idempotency-Key.")
	}
	if rep.Skipped != "" {
		fmt.Fprintf(w, "\nNOT RUN: %s\n", rep.Skipped)
		return
	}
	if len(rep.Phases) > 0 {
		rows := append(slices.Clone(rep.Phases), rep.Total)
		printTable(w, "accepted\trefused\tunknown\tarrived\tmissing\tduplicated\tphantom", rows, func(f figure) string {
			return fmt.Sprintf("%d\t%d\t%d\t%d\t%d\t%d\t%d", f.Accepted, f.Refused, f.Unknown, f.Arrived, f.Missing, f.Duplicated, f.Phantom)
		})
		printTable(w, "POST p50\tp99\tmax ms\tarrival p50\tp99\tmax ms", rows, func(f figure) string {
			return fmt.Sprintf("%.1f\t%.1f\t%.1f\t%.0f\t%.0f\t%.0f", f.Post.P50, f.Post.P99, f.Post.Max, f.Arrival.P50, f.Arrival.P99, f.Arrival.Max)
		})
		fmt.Fprintln(w)
	}
	if rep.Events != nil {
		fmt.Fprintf(w, "The second subscriber received %d platforms, %d of them twice; %d accepted ones never reached it.\n",
			rep.Events.Seen, rep.Events.Repeated, rep.Events.Missing)
	}
	if rep.Total.Untold > 0 {
		fmt.Fprintf(w, "%d platforms are in PlatformService and not in CommandsService, whatever response their client got.\n", rep.Total.Untold)
	}
	for _, f := range rep.Facts {
		fmt.Fprintf(w, "%s: %s\n", f.Name, f.Value)
	}
	for _, list := range []struct {
		what  string
		names []string
	}{{"missing", rep.Names.Missing}, {"untold", rep.Names.Untold}, {"duplicated", rep.Names.Duplicated}, {"phantom", rep.Names.Phantom}, {"under two ids", rep.Names.Mismatched}} {
		if n := len(list.names); n > 0 {
			fmt.Fprintf(w, "%s, for example: %s\n", list.what, strings.Join(list.names[:min(n, 3)], ", "))
		}
	}
	fmt.Fprintln(w)
	for _, c := range rep.Checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		fmt.Fprintf(w, "%s  expected %s: %s\n", mark, c.Expected, c.Got)
	}
	if rep.Error != "" {
		fmt.Fprintf(w, "FAIL  %s\n", rep.Error)
	}
	result := "passed"
	if !rep.Passed {
		result = "FAILED"
	}
	fmt.Fprintf(w, "\n%s %s: %s in %.0f s\n", rep.Stage, rep.Drill, result, rep.Seconds)
}

// printTable prints one line for each row. A name that would make the table wider than
// a terminal is printed above its row.
func printTable(w io.Writer, heads string, rows []figure, cells func(figure) string) {
	const longest = 20
	var b strings.Builder
	table := tabwriter.NewWriter(&b, 0, 0, 1, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "\t%s\t\n", heads)
	for _, row := range rows {
		name := row.Name
		if len(name) > longest {
			name = ""
		}
		fmt.Fprintf(table, "%s\t%s\t\n", name, cells(row))
	}
	table.Flush()
	lines := strings.Split(b.String(), "\n")
	fmt.Fprintf(w, "\n%s\n", lines[0])
	for i, row := range rows {
		if len(row.Name) > longest {
			fmt.Fprintln(w, row.Name)
		}
		fmt.Fprintln(w, lines[i+1])
	}
}

// summary is what was judged, in a few words.
func (rep report) summary() string {
	t := rep.Total
	return fmt.Sprintf("%d accepted, %d refused, %d unknown: %d missing, %d duplicated, %d phantom",
		t.Accepted, t.Refused, t.Unknown, t.Missing, t.Duplicated, t.Phantom)
}

// summarise prints one line for each report.
func summarise(w io.Writer, reports []report) {
	var b strings.Builder
	fmt.Fprintln(&b)
	for _, rep := range reports {
		result := "passed, " + rep.summary()
		switch {
		case rep.Skipped != "":
			result = "not run: " + rep.Skipped
		case !rep.Passed:
			result = "FAILED, " + rep.summary()
		}
		name := rep.Drill
		if rep.Keys {
			name += " --keys"
		}
		fmt.Fprintf(&b, "%s %-24s %s\n", rep.Stage, name, result)
	}
	writeWrapped(w, b.String())
}

// writeJSON prints the reports for programs.
func writeJSON(w io.Writer, reports []report) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if len(reports) == 1 {
		return encoder.Encode(reports[0])
	}
	return encoder.Encode(reports)
}
