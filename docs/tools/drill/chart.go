package main

import (
	"fmt"
	"strings"
)

// bar is one bar of a chart. Its length is out of 100.
type bar struct {
	label  string // before it
	length float64
	text   string // after it
	faint  bool   // drawn for the healthy state, beside the bar of the fault
}

// panel is bars under a title.
type panel struct {
	title string
	bars  []bar
}

// comparisonChart draws the comparison as an SVG.
func comparisonChart(rows []comparison) string {
	longest := 0.0
	for _, row := range rows {
		longest = max(longest, row.Healthy.P50, row.Slow.P50)
	}
	post := panel{title: fmt.Sprintf("How long a POST takes (p50), when all is well and when CommandsService is %d ms late", delay.Milliseconds())}
	losses := []panel{
		{title: "Lost while CommandsService is down"},
		{title: "Lost while the broker is down"},
		{title: "Lost when PlatformService crashes between saving and publishing"},
	}
	for _, row := range rows {
		label := row.Stage + ", " + row.Adds
		post.bars = append(post.bars,
			bar{label, 100 * row.Healthy.P50 / longest, fmt.Sprintf("%.1f ms, all is well", row.Healthy.P50), true},
			bar{"", 100 * row.Slow.P50 / longest, fmt.Sprintf("%.1f ms, slow", row.Slow.P50), false})
		for i, l := range []*loss{row.CommandsDown, row.BrokerCrash, row.PlatformsDown} {
			if l != nil {
				losses[i].bars = append(losses[i].bars, bar{label, l.percent(), l.String(), false})
			}
		}
	}
	return chart(append([]panel{post}, losses...))
}

// chart draws panels one under the other, on a white background that suits its colours.
func chart(panels []panel) string {
	const (
		width, left, right = 760, 180, 120 // the labels, and the text after the longest bar
		thick, gap, head   = 16, 5, 44
	)
	var b strings.Builder
	y := 8
	for _, p := range panels {
		fmt.Fprintf(&b, `<text x="16" y="%d" class="title">%s</text>`+"\n", y+24, escaped(p.title))
		y += head - 8
		for i, one := range p.bars {
			if one.label != "" && i > 0 {
				y += gap
			}
			class := "bar"
			if one.faint {
				class = "faint"
			}
			length := max(1, int(one.length*float64(width-left-right)/100)) // so that zero shows as a line
			fmt.Fprintf(&b, `<text x="%d" y="%d" class="label">%s</text>`+"\n", left-8, y+thick-4, escaped(one.label))
			fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%d" height="%d" class="%s"/>`+"\n", left, y, length, thick-2, class)
			fmt.Fprintf(&b, `<text x="%d" y="%d">%s</text>`+"\n", left+length+6, y+thick-4, escaped(one.text))
			y += thick
		}
		y += 8
	}
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">
<style>text{fill:#23272a}.title{font-size:14px;font-weight:bold}.label{text-anchor:end}.bar{fill:#b3401a}.faint{fill:#7a9cc6}.ground{fill:#fdfcf9}
@media (prefers-color-scheme:dark){text{fill:#d8dde0}.bar{fill:#df7f57}.faint{fill:#6790bd}.ground{fill:#14181c}}</style>
<rect width="100%%" height="100%%" class="ground"/>
%s</svg>
`, width, y+8, b.String())
}

func escaped(text string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text)
}
