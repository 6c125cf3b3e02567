package main

import (
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/markdown"
)

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
		"a file that could be either":            {"06-rabbitmq/README.md", "See `rest.go`.", ""},
		"twins: the one that came first":         {"02-http-sync/README.md", "See `router.go`.", "platformservice/router.go"},
		"a word that one function of a stage is": {"02-http-sync/README.md", "`detached` gives the insert a context.", "platformservice/router.go"},
		"a file of the exercise itself":          {"06-rabbitmq/exercises/durable-queue/README.md", "See `exercise_test.go`.", "exercises/durable-queue/exercise_test.go"},
		"a method by its type":                   {"06-rabbitmq/README.md", commands + "`subscriber.bind`", "commandsservice/subscriber.go"},
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
