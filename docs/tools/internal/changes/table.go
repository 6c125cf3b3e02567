package changes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/repo"
)

// Row is a row `| adds | `path` | why |` of the table "What changes". A row
// `| changes | `path`: `name`, `name` | why |` is about those declarations.
type Row struct {
	Action, Path string
	Names        []string // of declarations in the file; none: all that no row names
	Piece        string   // the heading above
	Place        int      // in the table
	Folded       bool     // within <details>: listed, and not shown with the piece
	Why          string   // Markdown
}

// TablePage is the page of a stage that has the table "What changes".
func TablePage(s repo.Stage) string {
	if _, err := os.Stat(filepath.Join(s.Dir, "PIECES.md")); err == nil {
		return "PIECES.md"
	}
	return "README.md"
}

// ReadTable reads the table of a stage, which may have none.
func ReadTable(s repo.Stage) []Row {
	lesson, err := os.ReadFile(filepath.Join(s.Dir, TablePage(s)))
	if err != nil {
		return nil
	}
	table, err := ParseTable(string(lesson))
	if err != nil {
		return nil // lab test reports its errors
	}
	return table
}

// ParseTable reads the table "What changes" of a lesson. Headings in it,
// "### NAME", divide the files into pieces.
func ParseTable(lesson string) ([]Row, error) {
	_, section, found := strings.Cut("\n"+lesson, "\n## What changes")
	if !found {
		return nil, errors.New(`there is no section "## What changes"`)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var table []Row
	piece, folded := "", false
	for line := range strings.Lines(section) {
		if strings.HasPrefix(line, "<details>") || strings.HasPrefix(line, "</details>") {
			folded = line[1] == 'd'
		}
		if heading, found := strings.CutPrefix(line, "### "); found {
			piece = strings.TrimSpace(heading)
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		action := strings.TrimSpace(cells[0])
		if action != "adds" && action != "changes" && action != "removes" {
			if strings.HasPrefix(line, "|") && strings.Contains(line, "`") {
				return nil, fmt.Errorf("a row must begin with adds, changes or removes: %s", strings.TrimSpace(line))
			}
			continue
		}
		if len(cells) != 3 || strings.TrimSpace(cells[2]) == "" {
			return nil, fmt.Errorf("a row needs three cells, the last with the reason: %s", strings.TrimSpace(line))
		}
		path, Declarations, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(cells[1]), "`", ""), ": ")
		names := strings.FieldsFunc(Declarations, func(r rune) bool { return r == ',' || r == ' ' })
		// Several pieces may change one file, in the same way, and one piece some of its
		// Declarations and the rest.
		if slices.ContainsFunc(table, func(row Row) bool {
			return row.Path == path && (row.Action != action || row.Piece == piece && slices.Equal(row.Names, names))
		}) {
			return nil, fmt.Errorf("%s is listed twice", path)
		}
		table = append(table, Row{action, path, names, piece, len(table), folded, strings.TrimSpace(cells[2])})
	}
	if len(table) == 0 {
		return nil, errors.New(`"## What changes" lists nothing`)
	}
	return table, nil
}
