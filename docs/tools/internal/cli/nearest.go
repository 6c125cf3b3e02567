package cli

import "strings"

// OrNearest suggests the known name nearest to a wrong one, or returns otherwise if none
// is near.
func OrNearest(wrong string, known []string, otherwise string) string {
	letters := len(strings.Trim(wrong, "-"))
	limit := 2
	if letters <= 4 { // in a short word two mistakes make another word
		limit = 1
	}
	nearest, least := "", limit+1
	for _, name := range known {
		d := distance(wrong, name)
		if strings.HasPrefix(name, wrong) && letters > 0 {
			d = min(d, limit)
		}
		if d < least {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		return otherwise
	}
	return "did you mean " + nearest + "?"
}

// distance is the number of letters to insert, delete, replace, or swap with the
// next, to get from a to b.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1) // rows[i][j] is the distance of a[:i] and b[:j]
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			if i == 0 || j == 0 {
				rows[i][j] = i + j
				continue
			}
			replaced := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				replaced++
			}
			rows[i][j] = min(replaced, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
