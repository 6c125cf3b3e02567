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

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/repo"
)

// checkDelta compares the table "What changes" of a stage with the real
// difference from the stage before, in both directions.
func checkDelta(ctx context.Context, root string, before, s repo.Stage) error {
	old, err := changes.Files(ctx, root, before)
	if err != nil {
		return err
	}
	new, err := changes.Files(ctx, root, s)
	if err != nil {
		return err
	}
	return compareDelta(before, s, old, new)
}

// compareDelta is checkDelta for files that are already read.
func compareDelta(before, s repo.Stage, old, new map[string]string) error {
	page := changes.TablePage(s)
	lesson, err := os.ReadFile(filepath.Join(s.Dir, page))
	if err != nil {
		return err
	}
	page = s.Name + "/" + page
	table, err := changes.ParseTable(string(lesson))
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	var errs []error
	listed := map[string]string{}
	for _, row := range table {
		listed[row.Path] = row.Action
		for _, name := range row.Names {
			if !changes.DeclarationsOf(new[row.Path]).Has(name) {
				errs = append(errs, fmt.Errorf("%s lists %s in %s, which does not declare it", page, name, row.Path))
			}
		}
		if !slices.ContainsFunc(table, func(other changes.Row) bool { return other.Path == row.Path && len(other.Names) == 0 }) {
			errs = append(errs, fmt.Errorf("%s lists parts of %s, and not the rest", page, row.Path))
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

// foldTests replaces the test files of a delta that the table does not list by the one
// entry allTests, if the table has it.
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

// delta returns, for each file that differs, what the later of two stages, new, does to
// it: adds, changes or removes.
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
