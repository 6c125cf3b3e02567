package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/markdown"
)

// unlinkedFile is a file, by its name's ending, that a table names and that is no link.
var unlinkedFile = regexp.MustCompile(`[^>]<code>([^</ ]*\.(?:go|mod|yml|yaml|sql|proto))</code>`)

// withCode is the book of this checkout, with its code listed.
func withCode(t *testing.T) *book {
	t.Helper()
	b := checkout(t)
	if err := b.listCode(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.findDeclarations(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestANameMeansWhatTheTextAroundItIsAbout(t *testing.T) {
	b := withCode(t)
	snippet := func(file string) string { return "```go file=" + file + "\n\tx()\n```\n\n" }
	platforms, commands := snippet("06-rabbitmq/platformservice/broker.go"), snippet("06-rabbitmq/commandsservice/subscriber.go")
	for name, test := range map[string]struct{ source, text, want string }{
		"in the package of the last snippet":     {"06-rabbitmq/README.md", platforms + "`dialBroker` guards.", "platformservice/broker.go"},
		"or of the next":                         {"06-rabbitmq/README.md", "`dialBroker` guards:\n\n" + platforms, "platformservice/broker.go"},
		"of this topic":                          {"06-rabbitmq/README.md", platforms + "**The wiring.** `dialBroker`:\n\n" + commands, "commandsservice/broker.go"},
		"of this section":                        {"06-rabbitmq/README.md", commands + "## Next\n\n`dialBroker`", "platformservice/broker.go"},
		"where the same paragraph says":          {"06-rabbitmq/README.md", commands + "`platformservice/rest.go` has a `fail`", "platformservice/rest.go"},
		"a file beside the snippet's":            {"06-rabbitmq/README.md", commands + "So does `service.go`.", "commandsservice/service.go"},
		"a file beside one just named":           {"06-rabbitmq/exercises/durable-queue/README.md", "Edit `commandsservice/config.go` and `service.go`.", "commandsservice/service.go"},
		"a file that could be either":            {"02-http-sync/README.md", "See `rest.go`.", ""},
		"the one that the lesson's table lists":  {"02-http-sync/README.md", "**Its contract** is `openapi.yaml`.", "commandsservice/openapi.yaml"},
		"twins: the one that came first":         {"02-http-sync/README.md", "See `router.go`.", "platformservice/router.go"},
		"a word that one function of a stage is": {"02-http-sync/README.md", "`detached` gives the insert a context.", "platformservice/router.go"},
		"a file of the exercise itself":          {"06-rabbitmq/exercises/durable-queue/README.md", "See `exercise_test.go`.", "exercises/durable-queue/exercise_test.go"},
		"a method by its type":                   {"06-rabbitmq/README.md", commands + "`subscriber.bind`", "commandsservice/subscriber.go"},
		"a pointer to a type":                    {"01-rest/README.md", "a `*problem`", "platformservice/problem.go"},
		"a variable, not another file's method":  {"06-rabbitmq/README.md", commands + "what `handle` stands for", ""},
		"a keyword":                              {"06-rabbitmq/README.md", commands + "This `select`", ""},
		"what the library has":                   {"06-rabbitmq/README.md", commands + "its `Config`.", "commandsservice/config.go"},
		"what the library has, elsewhere":        {"06-rabbitmq/README.md", "its `Config`.", ""},
		"a queue":                                {"final/README.md", "the queue `commands.platforms`", ""},
		"no stage":                               {"docs/faq.md", "`detached`", ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := b.parseText(test.source, test.text)
			got := ""
			_ = ast.Walk(d.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
				if n.Kind() == ast.KindCodeSpan && entering {
					got = b.named(d, n).file
				}
				return ast.WalkContinue, nil
			})
			if _, got, _ = strings.Cut(got, "/"); got != test.want {
				t.Errorf("%s leads to %q, not %q", markdown.PlainText(d.tree, d.text), got, test.want)
			}
		})
	}
}

// testChangesTable follows the table of what changes to the files that it names.
func testChangesTable(t *testing.T, b *book) {
	for source, d := range b.lessons {
		p := b.bySource[source]
		_, section, _ := strings.Cut(p.html, `<h2 id="what-changes">`)
		section, _, _ = strings.Cut(section, "<h2 ")
		for _, name := range unlinkedFile.FindAllStringSubmatch(section, -1) {
			t.Errorf("%s: %s is no link", d.source, name[1])
		}
	}
	row := `href="book:06-rabbitmq/diff/index.html#`
	for _, want := range []string{row + `tests"><code>*_test.go`, row + `commandsservice-wire_test.go"><code>wire_test.go`} {
		if !strings.Contains(b.byURL["06-rabbitmq/index.html"].html, want) {
			t.Errorf("06: no %s", want)
		}
	}
}
