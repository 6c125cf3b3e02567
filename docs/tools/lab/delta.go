package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/repo"
)

// checkDelta compares the table "What changes" of a stage with the real
// difference from the stage before, in both directions.
func checkDelta(ctx context.Context, root string, before, s repo.Stage) error {
	old, err := comparedFiles(ctx, root, before)
	if err != nil {
		return err
	}
	new, err := comparedFiles(ctx, root, s)
	if err != nil {
		return err
	}
	return compareDelta(before, s, old, new)
}

// compareDelta is checkDelta for files that were read already.
func compareDelta(before, s repo.Stage, old, new map[string]string) error {
	page := tablePage(s)
	lesson, err := os.ReadFile(filepath.Join(s.Dir, page))
	if err != nil {
		return err
	}
	page = s.Name + "/" + page
	table, err := parseTable(string(lesson))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	var errs []error
	listed := map[string]string{}
	for _, row := range table {
		listed[row.path] = row.action
		for _, name := range row.names {
			if !declarationsOf(new[row.path]).has(name) {
				errs = append(errs, fmt.Errorf("%s lists %s in %s, which does not declare it", page, name, row.path))
			}
		}
		if !slices.ContainsFunc(table, func(other tableRow) bool { return other.path == row.path && len(other.names) == 0 }) {
			errs = append(errs, fmt.Errorf("%s lists parts of %s, and not the rest", page, row.path))
		}
	}
	real := delta(old, new)
	foldTests(real, listed)
	for _, path := range slices.Sorted(maps.Keys(real)) {
		if listed[path] == "" {
			errs = append(errs, fmt.Errorf("%s does not list that the stage %s %s", page, real[path], path))
		} else if listed[path] != real[path] {
			errs = append(errs, fmt.Errorf("%s says that the stage %s %s, but it %s it", page, listed[path], path, real[path]))
		}
	}
	for _, path := range slices.Sorted(maps.Keys(listed)) {
		if real[path] == "" {
			errs = append(errs, fmt.Errorf("%s lists %s, but it is the same as in %s", page, path, before.Name))
		}
	}
	return errors.Join(errs...)
}

// allTests in a table stands for every test file that no other row lists.
const allTests = "*_test.go"

// foldTests replaces the test files of a delta that the table does not list by
// one entry, when the table has it.
func foldTests(real, listed map[string]string) {
	if listed[allTests] == "" {
		return
	}
	for path := range real {
		if strings.HasSuffix(path, "_test.go") && listed[path] == "" {
			delete(real, path)
			real[allTests] = "changes"
		}
	}
}

// delta returns what the later of two stages, new, does to each file that
// differs: adds, changes or removes.
func delta(old, new map[string]string) map[string]string {
	found := map[string]string{}
	for path, content := range new {
		if was, there := old[path]; !there {
			found[path] = "adds"
		} else if was != content {
			found[path] = "changes"
		}
	}
	for path := range old {
		if _, there := new[path]; !there {
			found[path] = "removes"
		}
	}
	return found
}

// tableRow is a row `| adds | `path` | why |` of the table "What changes". A row
// `| changes | `path`: `name`, `name` | why |` is about those declarations.
type tableRow struct {
	action, path string
	names        []string // of declarations in the file; none: all that no row names
	piece        string   // the heading above
	place        int      // in the table
	folded       bool     // within <details>: listed, and not shown with the piece
}

// tablePage is the page of a stage that has the table "What changes".
func tablePage(s repo.Stage) string {
	if _, err := os.Stat(filepath.Join(s.Dir, "PIECES.md")); err == nil {
		return "PIECES.md"
	}
	return "README.md"
}

// readTable reads the table of a stage, which may have none.
func readTable(s repo.Stage) []tableRow {
	lesson, err := os.ReadFile(filepath.Join(s.Dir, tablePage(s)))
	if err != nil {
		return nil
	}
	table, err := parseTable(string(lesson))
	if err != nil {
		return nil // lab test reports what is wrong with it
	}
	return table
}

// parseTable reads the table "What changes" of a lesson. Headings in it,
// "### NAME", divide the files into pieces.
func parseTable(lesson string) ([]tableRow, error) {
	_, section, found := strings.Cut("\n"+lesson, "\n## What changes")
	if !found {
		return nil, errors.New(`there is no section "## What changes"`)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var table []tableRow
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
		path, declarations, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(cells[1]), "`", ""), ": ")
		names := strings.FieldsFunc(declarations, func(r rune) bool { return r == ',' || r == ' ' })
		// Several pieces may change one file, in the same way, and one piece some of its
		// declarations and the rest.
		if slices.ContainsFunc(table, func(row tableRow) bool {
			return row.path == path && (row.action != action || row.piece == piece && slices.Equal(row.names, names))
		}) {
			return nil, fmt.Errorf("%s is listed twice", path)
		}
		table = append(table, tableRow{action, path, names, piece, len(table), folded})
	}
	if len(table) == 0 {
		return nil, errors.New(`"## What changes" lists nothing`)
	}
	return table, nil
}
