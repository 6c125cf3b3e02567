package main

import (
	"regexp"
	"strings"
)

// stretch is a part of a line, in bytes.
type stretch struct{ start, end int }

var words = regexp.MustCompile(`[\pL\pN_]+|\s+|.`)

// alike is how much two lines must have in common, of 1, for their differences to be
// marked word by word. Below that, all of it has changed.
const alike = 0.5

// wordMarks pairs lines that were removed with lines that were added, in order, and
// returns for each which words differ.
func wordMarks(del, ins []string) (inDel, inIns [][]stretch) {
	inDel, inIns = make([][]stretch, len(del)), make([][]stretch, len(ins))
	if len(del)*len(ins) > 2500 {
		return inDel, inIns // a rewrite: nothing would be gained
	}
	// best[i][j] is the most that the lines from i and j on can have in common.
	best := make([][]float64, len(del)+1)
	same := make([][]float64, len(del)+1)
	for i := range best {
		best[i], same[i] = make([]float64, len(ins)+1), make([]float64, len(ins)+1)
	}
	for i := len(del) - 1; i >= 0; i-- {
		for j := len(ins) - 1; j >= 0; j-- {
			a, b := words.FindAllString(del[i], -1), words.FindAllString(ins[j], -1)
			same[i][j] = common(a, b)
			best[i][j] = max(best[i+1][j], best[i][j+1])
			if same[i][j] >= alike {
				best[i][j] = max(best[i][j], same[i][j]+best[i+1][j+1])
			}
		}
	}
	for i, j := 0, 0; i < len(del) && j < len(ins); {
		switch {
		case same[i][j] >= alike && best[i][j] == same[i][j]+best[i+1][j+1]:
			inDel[i], inIns[j] = differing(del[i], ins[j])
			i, j = i+1, j+1
		case best[i][j] == best[i+1][j]:
			i++
		default:
			j++
		}
	}
	return inDel, inIns
}

// longest is the table of the longest common subsequences of the ends of a and b.
func longest(a, b []string) [][]int {
	table := make([][]int, len(a)+1)
	for i := range table {
		table[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				table[i][j] = table[i+1][j+1] + len(a[i])
			} else {
				table[i][j] = max(table[i+1][j], table[i][j+1])
			}
		}
	}
	return table
}

// common is the share of two lines that is the same.
func common(a, b []string) float64 {
	total := 0
	for _, w := range append(append([]string{}, a...), b...) {
		total += len(w)
	}
	if total == 0 {
		return 1
	}
	return 2 * float64(longest(a, b)[0][0]) / float64(total)
}

// differing are the stretches of two lines that the other doesn't have.
func differing(one, other string) (inOne, inOther []stretch) {
	a, b := words.FindAllString(one, -1), words.FindAllString(other, -1)
	table := longest(a, b)
	mark := func(marks []stretch, start int, word string) []stretch {
		length := len(word)
		if strings.TrimSpace(word) == "" {
			return marks // gofmt's alignment is no news
		}
		if n := len(marks); n > 0 && marks[n-1].end == start {
			marks[n-1].end += length
			return marks
		}
		return append(marks, stretch{start, start + length})
	}
	i, j, atOne, atOther := 0, 0, 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			atOne, atOther = atOne+len(a[i]), atOther+len(b[j])
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && table[i+1][j] >= table[i][j+1]:
			inOne = mark(inOne, atOne, a[i])
			atOne += len(a[i])
			i++
		default:
			inOther = mark(inOther, atOther, b[j])
			atOther += len(b[j])
			j++
		}
	}
	return inOne, inOther
}
