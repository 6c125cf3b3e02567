package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

func TestComparisonShowsEveryFigure(t *testing.T) {
	rows := []comparison{
		{Stage: "02-http-sync", Adds: "a <call>", Healthy: times{P50: 1.3}, Slow: times{P50: 202.4}, CommandsDown: &loss{501, 503}},
		{Stage: "06-rabbitmq", Adds: "events", Healthy: times{P50: 1.1}, Slow: times{P50: 1.2},
			CommandsDown: &loss{502, 505}, BrokerCrash: &loss{7, 8}, PlatformsDown: &loss{0, 65}},
	}
	table, svg := comparisonTable(rows), comparisonChart(rows)
	if want := "| 02-http-sync | a <call> | 1.3 ms | 202.4 ms | 501 of 503 | – | – |\n"; !strings.Contains(table, want) {
		t.Errorf("got\n%swant the line\n%s", table, want)
	}
	var texts []string
	decoder := xml.NewDecoder(strings.NewReader(svg))
	bars := 0
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the chart is no XML: %v", err)
		}
		switch token := token.(type) {
		case xml.CharData:
			texts = append(texts, string(token))
		case xml.StartElement:
			if token.Name.Local == "rect" {
				bars++
			}
		}
	}
	all := strings.Join(texts, "\n")
	for _, want := range []string{"02-http-sync, a <call>", "1.3 ms", "202.4 ms", "1.1 ms", "1.2 ms", "501 of 503", "502 of 505", "7 of 8", "0 of 65"} {
		if !strings.Contains(all, want) {
			t.Errorf("the chart does not show %q", want)
		}
	}
	if want := 1 + 4 + 2 + 1 + 1; bars != want { // the ground, and the bars of each panel
		t.Errorf("got %d rectangles, want %d", bars, want)
	}
}
