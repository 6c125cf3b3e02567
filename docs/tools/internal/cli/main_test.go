package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestAnErrorIsPrintedAndHasItsExitStatus(t *testing.T) {
	interrupted, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		err    error
		status int
		prints string
	}{
		"none":         {t.Context(), nil, 0, ""},
		"after Ctrl-C": {interrupted, errors.New("signal: killed"), 130, "tool: interrupted\n"},
		"usage":        {t.Context(), fmt.Errorf("docs: %w", UsageError("no such file")), 2, "tool: docs: no such file\n"},
		"reported":     {t.Context(), fmt.Errorf("docs: %w", ErrReported), 1, ""},
		"other":        {t.Context(), errors.New("disk full"), 1, "tool: disk full\n"},
		"ended calmly": {interrupted, nil, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var stderr strings.Builder
			if status := exitStatus(c.ctx, "tool", c.err, &stderr); status != c.status || stderr.String() != c.prints {
				t.Errorf("status %d, %q; want %d, %q", status, stderr.String(), c.status, c.prints)
			}
		})
	}
}
