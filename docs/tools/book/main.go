// Command book makes a static site of the workbook: the READMEs and the docs, the
// diff of each stage, and its code. There is no other source. It is behind
// go tool lab book.
//
// A page is made in three steps, each in files of its own:
//
//   - [load] lists the pages there are, so that any page can link to any other;
//   - the makers (lesson.go, exercise.go, diff.go, code.go…) fill them: [page];
//   - write puts a page into the frame of layout.html, and makes its links relative.
//
// A link inside a page is written as book:URL, where URL is counted from the site's top.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/repo"
)

func main() {
	cli.Main("book", func(ctx context.Context, args []string) error {
		return command(ctx, args, os.Stdout)
	})
}

func command(ctx context.Context, args []string, stdout io.Writer) error {
	var flags cli.Book
	set := flag.NewFlagSet("book", flag.ContinueOnError)
	flags.Declare(set)
	rest, err := cli.Parse(set, args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return cli.UsageError("book takes no arguments; see: go tool lab help book")
	}
	root, err := repo.Root()
	if err != nil {
		return err
	}
	out := flags.Out
	if out == "" {
		out = filepath.Join(root, "docs", "book")
	}
	start := time.Now()
	b, err := load(ctx, root)
	if err != nil {
		return err
	}
	if flags.Pictures {
		if err := b.listDocuments(ctx); err != nil {
			return err
		}
		return b.renderPictures(ctx, stdout)
	}
	b.repository = repository(ctx, root, flags.Repository)
	if err := b.make(ctx); err != nil {
		return err
	}
	if err := b.write(ctx, out); err != nil {
		return err
	}
	b.report(stdout)
	fmt.Fprintf(stdout, "%d pages in %s\n%s\n", len(b.pages), time.Since(start).Round(100*time.Millisecond), filepath.Join(out, "index.html"))
	if flags.PDF != "" {
		if err := writePDF(ctx, out, flags.PDF, os.Stderr); err != nil {
			return err
		}
		fmt.Fprintln(stdout, flags.PDF)
	}
	if flags.Serve {
		return serve(ctx, out, stdout)
	}
	return nil
}
