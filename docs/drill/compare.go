package main

import (
	"context"
	"errors"
	"io"
)

func (d *driller) compare(ctx context.Context, w io.Writer, out string) error {
	return errors.New("todo")
}
