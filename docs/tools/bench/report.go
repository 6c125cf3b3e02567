package main

import (
	"fmt"
	"html"
	"slices"
	"strings"
)

// result is one line of the report.
type result struct {
	path  string
	ours  string
	floor string
	ratio float64 // ours to floor, 0 where there is no floor
	low   float64 // the lowest and the highest of the rounds
	high  float64
	aim   string
	met   bool
}

func (r result) String() string {
	return fmt.Sprintf("%s: %s against %s, ratio %.2f (%.2f to %.2f), aim %s", r.path, r.ours, r.floor, r.ratio, r.low, r.high, r.aim)
}

// ratios returns the median, the lowest and the highest ratio of the rounds.
func ratios(ours, floor []float64) (median, low, high float64) {
	var all []float64
	for i := range ours {
		all = append(all, ours[i]/floor[i])
	}
	slices.Sort(all)
	return all[len(all)/2], all[0], all[len(all)-1]
}

func medianOf(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// markdown returns the results as a table.
func markdown(results []result) string {
	var b strings.Builder
	b.WriteString("| path | ours | floor | ours/floor, median (range) | aim | met |\n|---|---|---|---|---|---|\n")
	for _, r := range results {
		ratio := "–"
		if r.ratio > 0 {
			ratio = fmt.Sprintf("%.2f (%.2f–%.2f)", r.ratio, r.low, r.high)
		}
		met := map[bool]string{true: "yes", false: "no"}[r.met]
		if r.aim == "–" {
			met = "–"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", r.path, r.ours, r.floor, ratio, r.aim, met)
	}
	return b.String()
}

// plotStyle has the plot follow the theme of the page that shows it.
const plotStyle = `<style>text{fill:#23272a}line{stroke:#23272a}.ground{fill:#fdfcf9}@media (prefers-color-scheme:dark){text{fill:#d8dde0}line{stroke:#d8dde0}.ground{fill:#14181c}}</style>` + "\n"

// svg draws the ratios as bars, with a line at 1: as fast as the floor.
func svg(results []result) string {
	results = slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.ratio == 0 })
	const left, width, line = 330, 420, 30
	longest := 1.25
	for _, r := range results {
		longest = max(longest, r.high)
	}
	x := func(ratio float64) float64 { return left + ratio/longest*width }
	height := 60 + line*len(results)
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="13">`+"\n"+plotStyle, left+width+90, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" class="ground"/><text x="10" y="22" font-size="15">ours / floor, medians; the thin line is the range of the rounds</text>`+"\n")
	for i, r := range results {
		y := 40 + line*i
		colour := map[bool]string{true: "#3b7ea1", false: "#c4820e"}[r.met]
		fmt.Fprintf(&b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, left-8, y+15, html.EscapeString(r.path))
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="%.1f" height="18" fill="%s"/>`, left, y, x(r.ratio)-left, colour)
		fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, x(r.low), x(r.high), y+9, y+9)
		fmt.Fprintf(&b, `<text x="%.1f" y="%d">%.2f</text>`+"\n", x(max(r.ratio, r.high))+6, y+14, r.ratio)
	}
	fmt.Fprintf(&b, `<line x1="%.1f" x2="%.1f" y1="34" y2="%d" stroke-opacity=".5" stroke-dasharray="4 3"/><text x="%.1f" y="%d" text-anchor="middle">1</text></svg>`+"\n",
		x(1), x(1), height-22, x(1), height-8)
	return b.String()
}
