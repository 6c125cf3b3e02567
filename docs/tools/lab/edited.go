package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/repo"
)

// editsError is a failed check of the workbook, such as "what changes", that fails only
// because the stage was edited.
type editsError struct {
	failure error
	paths   []string
}

func (e editsError) Error() string {
	return fmt.Sprintf("%v\nThis check compares the stages with each other. It fails because of these edits, and says nothing about how they work: %s",
		e.failure, strings.Join(e.paths, ", "))
}

func (e editsError) Unwrap() error { return e.failure }

// checkEditedDelta is checkDelta for a named stage, in a checkout where a learner works.
// Edits in the stage before count as undone, and a failure caused by edits in the stage
// itself says so.
func checkEditedDelta(ctx context.Context, root string, before, s repo.Stage) error {
	failure := checkDelta(ctx, root, before, s)
	if failure == nil {
		return nil
	}
	old, oldEdits, err := unedited(ctx, root, before)
	if err != nil {
		return errors.Join(failure, err)
	}
	was, edits, err := unedited(ctx, root, s)
	if err != nil {
		return errors.Join(failure, err)
	}
	if len(oldEdits) > 0 {
		now, err := changes.Files(ctx, root, s)
		if err != nil {
			return err
		}
		if failure = compareDelta(before, s, old, now); failure == nil {
			return nil
		}
	}
	if len(edits) > 0 && compareDelta(before, s, old, was) == nil {
		return editsError{failure, edits}
	}
	return failure
}

// checkEditedTwins is checkTwins; a failure caused by edits says so.
func checkEditedTwins(ctx context.Context, root string, s repo.Stage) error {
	failure := checkTwins(s)
	if failure == nil {
		return nil
	}
	_, edits, err := unedited(ctx, root, s)
	if err != nil {
		return errors.Join(failure, err)
	}
	edits = slices.DeleteFunc(edits, func(edit string) bool { return !slices.Contains(twinFiles(), path.Base(edit)) })
	if len(edits) > 0 {
		return editsError{failure, edits}
	}
	return failure
}

// unedited returns the stage's compared files as they were before any edit, and the
// paths of those that were edited.
func unedited(ctx context.Context, root string, s repo.Stage) (map[string]string, []string, error) {
	base, err := baseRevision(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	files, err := changes.Files(ctx, root, s)
	if err != nil {
		return nil, nil, err
	}
	edits, err := changesSince(ctx, root, s, base)
	if err != nil {
		return nil, nil, err
	}
	for path, edit := range edits {
		delete(files, path)
		if edit.base != nil {
			files[path] = strings.ReplaceAll(*edit.base, s.Module(), changes.AnyModule)
		}
	}
	return files, slices.Sorted(maps.Keys(edits)), nil
}
