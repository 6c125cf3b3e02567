package main

import (
	"regexp"
	"strings"
	"testing"

	"microcomm/docs/internal/legend"
)

func TestLegendExplainsTheTable(t *testing.T) {
	var out strings.Builder
	report{Phases: []figure{{Name: before}}}.write(&out)
	table := regexp.MustCompile(`(?m)^ +accepted .*$`).FindString(out.String())
	if table == "" {
		t.Fatalf("no table:\n%s", out.String())
	}
	for _, word := range strings.Fields(table) {
		if word != "ms" && !strings.Contains(legend.Text, word) {
			t.Errorf("the legend does not explain %s", word)
		}
	}
}
