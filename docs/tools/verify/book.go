package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/process"
)

// book builds the site and looks at it: its tests do, in a Chromium too.
func (v *verifier) book(ctx context.Context, _ []string) error {
	found := results{name: "the book"}
	output, err := process.Output(ctx, process.Command{
		Args: []string{"go", "test", "-count=1", "-timeout=50m", "./tools/book"}, Dir: filepath.Join(v.root, "docs"),
		Still: func(elapsed time.Duration) { v.report.note(fmt.Sprintf("building and reading the book: %s", elapsed)) },
	})
	if ctx.Err() != nil {
		return err
	}
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, process.LastLines(output, 60))
	}
	found.check("", err)
	v.report.add(found)
	return nil
}
