package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const ellipsis = "…"

// lines returns the lines of a text without empty ones at its end.
func lines(text string) []string {
	return strings.Split(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n \t"), "\n")
}

func isEllipsis(line string) bool { return strings.TrimSpace(line) == ellipsis }

func normalised(lines []string) []string {
	result := make([]string, len(lines))
	for i, line := range lines {
		result[i] = normalise(line)
	}
	return result
}

// matches reports whether got is what a document shows. With partial, other lines
// may stand anywhere between those shown.
func matches(shown, got string, partial bool) bool {
	want := lines(shown)
	if partial {
		want = loosened(want)
	}
	return glob(normalised(want), normalised(slices.DeleteFunc(lines(got), isWaiting)))
}

// isWaiting reports whether a line only reports a long wait. A machine that is fast, and has
// the modules, does not print it.
func isWaiting(line string) bool {
	return waiting.MatchString(line)
}

var waiting = regexp.MustCompile(`^(building \S+: [0-9hms]+|broker: still starting \(\d+s\)|go: downloading \S+ \S+)$`)

// loosened puts an ellipsis around every line.
func loosened(shown []string) []string {
	result := []string{ellipsis}
	for _, line := range shown {
		if !isEllipsis(line) {
			result = append(result, line, ellipsis)
		}
	}
	return result
}

// glob matches lines, of which an ellipsis stands for any number.
func glob(want, got []string) bool {
	last, retry := -1, 0 // the last ellipsis, and where in got it ends
	w, g := 0, 0
	for g < len(got) {
		switch {
		case w < len(want) && want[w] == ellipsis:
			last, retry = w, g
			w++
		case w < len(want) && want[w] == got[g]:
			w++
			g++
		case last >= 0: // it stands for one line more
			retry++
			w, g = last+1, retry
		default:
			return false
		}
	}
	return !slices.ContainsFunc(want[w:], func(line string) bool { return line != ellipsis })
}

// difference shows both texts line by line. Lines only in the document are marked -, lines
// only in the output +.
func difference(shown, got string) string {
	want, have := lines(shown), lines(got)
	var out strings.Builder
	w, g := 0, 0
	add := func(mark string, line string) { fmt.Fprintf(&out, "%s %s\n", mark, line) }
	for _, pair := range append(align(normalised(want), normalised(have)), [2]int{len(want), len(have)}) {
		gap, found := want[w:pair[0]], have[g:pair[1]]
		asShown := len(gap) > 0
		for _, line := range gap {
			if isEllipsis(line) {
				add(" ", line)
			} else {
				asShown = false
				add("-", line)
			}
		}
		if !asShown {
			for _, line := range found {
				add("+", line)
			}
		}
		if pair[0] < len(want) {
			add(" ", have[pair[1]])
		}
		w, g = pair[0]+1, pair[1]+1
	}
	return out.String()
}

// align returns the pairs of places of a longest common subsequence.
func align(a, b []string) [][2]int {
	lengths := make([][]int, len(a)+1)
	for i := range lengths {
		lengths[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				lengths[i][j] = lengths[i+1][j+1] + 1
			} else {
				lengths[i][j] = max(lengths[i+1][j], lengths[i][j+1])
			}
		}
	}
	var pairs [][2]int
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			pairs = append(pairs, [2]int{i, j})
			i, j = i+1, j+1
		case lengths[i+1][j] >= lengths[i][j+1]:
			i++
		default:
			j++
		}
	}
	return pairs
}

// updated returns got in the form for the document: a line that matches one shown keeps its
// form, and each ellipsis keeps its place and stands for the lines between its neighbours.
func updated(shown, got string, partial bool) string {
	want, have := lines(shown), lines(got)
	if partial {
		want = loosened(want)
	}
	var result []string
	w, g := 0, 0
	for _, pair := range append(align(normalised(want), normalised(have)), [2]int{len(want), len(have)}) {
		gap, found := want[w:pair[0]], have[g:pair[1]]
		switch first := slices.IndexFunc(gap, isEllipsis); {
		case partial: // as many as were shown there
			shownThere := slices.DeleteFunc(slices.Clone(gap), isEllipsis)
			result = append(result, found[:min(len(shownThere), len(found))]...)
		case first < 0:
			result = append(result, found...)
		default: // as many lines before and after it as were shown there
			last := len(gap)
			for !isEllipsis(gap[last-1]) {
				last--
			}
			before := min(first, len(found))
			after := min(len(gap)-last, len(found)-before)
			result = append(result, found[:before]...)
			result = append(result, ellipsis)
			result = append(result, found[len(found)-after:]...)
		}
		if pair[0] < len(want) {
			result = append(result, want[pair[0]])
		}
		w, g = pair[0]+1, pair[1]+1
	}
	return strings.Join(result, "\n") + "\n"
}
