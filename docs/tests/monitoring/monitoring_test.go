// Package monitoring holds the alerts and the dashboard of final, and the tests
// that hold them against what its services export.
package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"sigs.k8s.io/yaml"
)

// rules is a file of Prometheus's alerting rules.
type rules struct {
	Groups []struct {
		Name  string  `json:"name"`
		Rules []alert `json:"rules"`
	} `json:"groups"`
}

type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func alerts(t *testing.T) []alert {
	t.Helper()
	var file rules
	if err := yaml.UnmarshalStrict(read(t, "alerts.yml"), &file); err != nil {
		t.Fatal(err)
	}
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	if len(all) == 0 {
		t.Fatal("alerts.yml has no rules")
	}
	return all
}

// query is an expression with the labels that its text, an annotation or a
// legend, names.
type query struct {
	where  string
	expr   string
	labels []string
}

var (
	annotationLabel = regexp.MustCompile(`\$labels\.(\w+)`)
	legendLabel     = regexp.MustCompile(`{{\s*(\w+)\s*}}`)
)

func submatches(re *regexp.Regexp, text string) []string {
	var found []string
	for _, match := range re.FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}

// queries lists those of the alerts and of the dashboard.
func queries(t *testing.T) []query {
	t.Helper()
	var all []query
	for _, a := range alerts(t) {
		all = append(all, query{"alert " + a.Alert, a.Expr, submatches(annotationLabel, a.Annotations["summary"])})
	}
	var dashboard struct {
		Panels []struct {
			Type, Title string
			Targets     []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(read(t, "dashboard.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, panel := range dashboard.Panels {
		if panel.Type != "row" && len(panel.Targets) == 0 {
			t.Errorf("panel %q shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			expr := strings.ReplaceAll(target.Expr, "$__rate_interval", "5m") // Grafana's
			all = append(all, query{"panel " + panel.Title, expr, submatches(legendLabel, target.LegendFormat)})
		}
	}
	return all
}

// ofPrometheus are the labels that it adds to all that it scrapes.
var ofPrometheus = []string{"job", "instance"}

// check says what a query names that is not among the series. The values of
// status are not looked for: a system that is well has no 5xx to show.
func check(q query, series []labels.Labels) []string {
	expr, err := parser.NewParser(parser.Options{}).ParseExpr(q.expr)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", q.where, err)}
	}
	known := map[string]bool{} // the labels of the metrics that the query names
	for _, name := range ofPrometheus {
		known[name] = true
	}
	var problems []string
	complain := func(format string, args ...any) {
		problems = append(problems, q.where+": "+fmt.Sprintf(format, args...))
	}
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		selector, ok := node.(*parser.VectorSelector)
		if !ok || selector.Name == "up" { // up is Prometheus's own
			return nil
		}
		var found []labels.Labels
		for _, s := range series {
			if s.Get("__name__") == selector.Name {
				found = append(found, s)
				s.Range(func(l labels.Label) { known[l.Name] = true })
			}
		}
		if len(found) == 0 {
			complain("no service exports %s", selector.Name)
			return nil
		}
		for _, matcher := range selector.LabelMatchers {
			if matcher.Name == "__name__" || slices.Contains(ofPrometheus, matcher.Name) {
				continue
			}
			if !slices.ContainsFunc(found, func(s labels.Labels) bool { return s.Has(matcher.Name) }) {
				complain("%s has no label %s", selector.Name, matcher.Name)
			} else if matcher.Name != "status" && !slices.ContainsFunc(found, func(s labels.Labels) bool { return matcher.Matches(s.Get(matcher.Name)) }) {
				complain("no %s has %s", selector.Name, matcher)
			}
		}
		return nil
	})
	named := slices.Clone(q.labels)
	parser.Inspect(expr, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.AggregateExpr:
			named = append(named, node.Grouping...)
		case *parser.BinaryExpr:
			if node.VectorMatching != nil {
				named = append(named, node.VectorMatching.MatchingLabels...)
				named = append(named, node.VectorMatching.Include...)
			}
		}
		return nil
	})
	for _, name := range named {
		if !known[name] {
			complain("its metrics have no label %s", name)
		}
	}
	return problems
}

// The alerts and the dashboard name nothing that the running services lack. A
// copy that does is found out.
func TestQueriesNameWhatTheServicesExport(t *testing.T) {
	series := append(scrape(t), rabbitMQ(t)...)
	for _, q := range queries(t) {
		for _, problem := range check(q, series) {
			t.Error(problem)
		}
	}
	for wrong, want := range map[string]string{
		`outbox_pending > 0`:                                                "no service exports outbox_pending",
		`max(outbox_pending_events) > max(outbox_limit)`:                    "no service exports outbox_limit",
		`rate(event_age_seconds_buckets[5m])`:                               "no service exports event_age_seconds_buckets",
		`events_consumed_total{outcome="retried"}`:                          "events_consumed_total has no label outcome",
		`events_consumed_total{result="dead"}`:                              `no events_consumed_total has result="dead"`,
		`http_server_request_duration_seconds_count{route=~"/platforms.*"}`: `no http_server_request_duration_seconds_count has route=~"/platforms.*"`,
		`sum by (code) (http_server_request_duration_seconds_count)`:        "its metrics have no label code",
		`broker_connected == on (pod) up`:                                   "its metrics have no label pod",
		`sum(rate(dead_letter_events[5m])`:                                  "unclosed left parenthesis",
	} {
		if got := strings.Join(check(query{"wrong", wrong, nil}, series), "\n"); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want a problem with %q", wrong, got, want)
		}
	}
	if got := check(query{"wrong", "go_sql_in_use_connections", submatches(legendLabel, "{{instance}} {{name}}")}, series); len(got) != 1 || !strings.Contains(got[0], "no label name") {
		t.Errorf("a legend's label: got %q, want that there is no label name", got)
	}
}

// Each alert has its runbook in operations.md, and each runbook its alert.
func TestEachAlertHasItsRunbook(t *testing.T) {
	text := string(read(t, filepath.Join("..", "..", "operations.md")))
	_, runbooks, found := strings.Cut(text, "\n## Runbooks\n")
	if !found {
		t.Fatal("operations.md has no runbooks")
	}
	runbooks, _, _ = strings.Cut(runbooks, "\n## ")
	headings := submatches(regexp.MustCompile(`(?m)^### (\w+)$`), runbooks)
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
		if want := "docs/operations.md#" + strings.ToLower(a.Alert); a.Annotations["runbook_url"] != want {
			t.Errorf("%s: its runbook_url is %q, want %q", a.Alert, a.Annotations["runbook_url"], want)
		}
		if a.Annotations["summary"] == "" || a.For == "" || a.Labels["severity"] == "" {
			t.Errorf("%s lacks a summary, a time or a severity", a.Alert)
		}
	}
	if !slices.Equal(names, headings) {
		t.Errorf("operations.md has runbooks for\n%v, want one for each alert, in the order of alerts.yml:\n%v", headings, names)
	}
}

// What a runbook looks for in the log is what the services log.
func TestRunbooksLookForWhatIsLogged(t *testing.T) {
	var sources strings.Builder
	err := filepath.WalkDir(filepath.Join("..", "..", "..", "final"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			sources.Write(read(t, path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	patterns := submatches(regexp.MustCompile(`grep (?:-E)?\s*"([^"]+)"`), string(read(t, filepath.Join("..", "..", "operations.md"))))
	if len(patterns) < 5 {
		t.Fatalf("got %q, want more", patterns)
	}
	for _, text := range strings.Split(strings.Join(patterns, "|"), "|") {
		if !strings.Contains(sources.String(), text) {
			t.Errorf("no service logs %q", text)
		}
	}
}

// kubectl shows the last ten lines of each pod that a selector finds, unless it
// is told otherwise: what a grep looks for is hardly ever among them.
func TestRunbooksReadTheWholeLog(t *testing.T) {
	for _, name := range []string{"operations.md", "kubernetes.md", "troubleshooting.md"} {
		for _, command := range submatches(regexp.MustCompile(`(kubectl logs [^\n`+"`"+`]*)`), string(read(t, filepath.Join("..", "..", name)))) {
			if strings.Contains(command, " -l ") && !strings.Contains(command, " --tail=-1") {
				t.Errorf("%s: %q reads ten lines of each pod", name, command)
			}
		}
	}
}

// The threat model names files and tests that are there.
func TestThreatModelNamesWhatIsThere(t *testing.T) {
	files, tests := map[string]bool{}, map[string]bool{}
	for _, dir := range []string{"final", "docs", ".github"} {
		top := filepath.Join("..", "..", "..")
		err := filepath.WalkDir(filepath.Join(top, dir), func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			for name := filepath.ToSlash(strings.TrimPrefix(path, top)); name != ""; { // a path may leave out where it begins
				_, name, _ = strings.Cut(name, "/")
				files[name] = true
			}
			if strings.HasSuffix(path, "_test.go") {
				for _, test := range submatches(regexp.MustCompile(`(?m)^func (Test\w+)`), string(read(t, path))) {
					tests[test] = true
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	text := string(read(t, filepath.Join("..", "..", "threat-model.md")))
	named := submatches(regexp.MustCompile("`([\\w./-]+\\.(?:go|yml|sql))`"), text)
	if len(named) < 10 {
		t.Fatalf("got files %v, want more", named)
	}
	for _, name := range named {
		if !files[name] {
			t.Errorf("there is no file %s", name)
		}
	}
	for _, name := range submatches(regexp.MustCompile(`\b(Test\w+)`), text) {
		if !tests[name] {
			t.Errorf("there is no test %s", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
