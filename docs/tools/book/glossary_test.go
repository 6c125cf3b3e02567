package main

import (
	"regexp"
	"strings"
	"testing"
)

func TestTheFirstUseOfAGlossaryWordLeadsThere(t *testing.T) {
	b := checkout(t)
	b.lessons[glossarySource] = b.parseText(glossarySource, `# Glossary

**Outbox** (final): a table of *events*.

**Publisher confirm**, confirm (06): the broker "has" it.

**Percentile**, p50, p99: of every hundred.

**ClusterIP, NodePort** (03): types.
`)
	terms := b.readGlossary()
	for name, test := range map[string]struct{ text, want string }{
		"the first of two":      {"Drop p50 and p50.", "p50"},
		"once for an entry":     {"p99, then p50", "p99"},
		"in bold":               {"**Publisher confirms** are sent", "Publisher confirms"},
		"an everyday word":      {"we confirm it", ""},
		"in a heading":          {"## p50", ""},
		"in code":               {"`p50`", ""},
		"in a link":             {"[p50](x.md)", ""},
		"in a table":            {"| p50 |\n|---|\n| p99 |", ""},
		"part of a word":        {"xp50", ""},
		"with other capitals":   {"clusterip", ""},
		"with its capitals":     {"a ClusterIP", "ClusterIP"},
		"before its stage":      {"the outbox", ""},
		"on the next line, too": {"so\nthe p50", "p50"},
	} {
		t.Run(name, func(t *testing.T) {
			d := b.parseText("06-rabbitmq/README.md", test.text)
			linkTerms(d, "06-rabbitmq", terms)
			out, err := b.render(d)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, link := range regexp.MustCompile(`class="term" title="[^"]+">([^<]*)</a>`).FindAllStringSubmatch(out, -1) {
				got = append(got, link[1])
			}
			if strings.Join(got, ", ") != test.want {
				t.Errorf("%q are links, not %q, in %s", got, test.want, out)
			}
			if words := plainText(out); test.want != "" && words != strings.Join(strings.Fields(strings.ReplaceAll(test.text, "*", "")), " ") {
				t.Errorf("the text has become %q", words)
			}
		})
	}
	page, err := b.render(b.lessons[glossarySource])
	if err != nil || !strings.Contains(page, `id="term-publisher-confirm"`) {
		t.Errorf("no anchor in %s (error: %v)", page, err)
	}
}
