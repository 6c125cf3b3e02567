package main

import (
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/cli"
)

// comparison is what differs between two stages, to be shown in a terminal.
type comparison struct {
	*changes.Comparison
	chosen bool // the files are those of one piece, in the order of its table
}

// choose keeps only the files of a piece: one of the table, named by its heading or a
// part of it, or the files whose path contains that text or matches that pattern. A dot
// stands for all files. With tests, the tests of those files follow at the end.
func (c *comparison) choose(wanted string, withTests bool) error {
	if wanted == "." {
		return nil
	}
	heading := slices.IndexFunc(c.Pieces, func(piece string) bool { return strings.EqualFold(piece, wanted) })
	if heading < 0 {
		heading = slices.IndexFunc(c.Pieces, func(piece string) bool {
			return strings.Contains(strings.ToLower(piece), strings.ToLower(wanted))
		})
	}
	var chosen []changes.File
	piece := ""
	if heading >= 0 {
		piece = c.Pieces[heading]
		chosen = c.Piece(piece)
	}
	c.chosen = len(chosen) > 0
	if !c.chosen {
		part := strings.ToLower(strings.TrimPrefix(filepath.ToSlash(wanted), c.After.Name+"/"))
		chosen = slices.DeleteFunc(slices.Clone(c.Files), func(f changes.File) bool {
			whole, _ := path.Match(part, strings.ToLower(f.Path))
			base, _ := path.Match(part, strings.ToLower(path.Base(f.Path)))
			return !whole && !base && !strings.Contains(strings.ToLower(f.Path), part)
		})
	}
	if len(chosen) == 0 {
		hint := "see: go tool lab diff --stat " + c.After.Name
		if len(c.Pieces) > 0 {
			hint = cli.OrNearest(wanted, c.Pieces, "its pieces are "+strings.Join(c.Pieces, ", "))
		}
		return usageError(fmt.Sprintf("%s changes nothing called %s; %s", c.After.Name, wanted, hint))
	}
	if withTests {
		chosen = append(chosen, c.TestsOf(chosen, piece)...)
	}
	c.Files = chosen
	return nil
}

// writeStat lists the files by kind, and counts the lines that writePatches shows.
func (c *comparison) writeStat(w io.Writer, withTests bool) {
	fmt.Fprintf(w, "What %s changes in %s\n", c.After.Name, c.Before.Name)
	if c.chosen {
		fmt.Fprintln(w)
	}
	width := 0
	for _, f := range c.Files {
		width = max(width, len(f.Path))
	}
	last := changes.Kind(-1)
	for _, f := range c.Files {
		if f.Kind != last && !c.chosen {
			title := f.Kind.String()
			switch {
			case f.Kind == changes.Generated:
				title += " (not shown)"
			case f.Kind == changes.Tests && !withTests:
				title += " (shown with --tests)"
			}
			fmt.Fprintf(w, "\n%s\n", title)
			last = f.Kind
		}
		fmt.Fprintf(w, "  %-*s  %s\n", width, f.Path, f.Stat())
	}
	if i := slices.IndexFunc(c.Files, func(f changes.File) bool { return f.Folded && f.Kind < changes.Tests }); i >= 0 {
		name, _, _ := strings.Cut(c.After.Name, "-")
		fmt.Fprintf(w, "\nA folded file is shown when you name it: go tool lab diff %s %s\n", name, c.Files[i].Path)
	}
	fmt.Fprintf(w, "\n%s\n", c.count(func(f changes.File) bool { return f.Shown(withTests) }))
}

// count counts files and the lines of their patches.
func (c *comparison) count(counted func(changes.File) bool) string {
	files, added, removed := 0, 0, 0
	for _, f := range c.Files {
		if counted(f) && !strings.HasPrefix(f.Note, "shown with ") {
			files, added, removed = files+1, added+f.Added, removed+f.Removed
		}
	}
	changed := "files changed"
	if files == 1 {
		changed = "file changed"
	}
	return fmt.Sprintf("%d %s, %d lines added, %d removed", files, changed, added, removed)
}

// writePatches shows the differences.
func (c *comparison) writePatches(w io.Writer, withTests bool) {
	for _, f := range c.Files {
		switch {
		case !f.Shown(withTests):
		case f.Note != "":
			fmt.Fprintf(w, "\n%s: %s\n", f.Path, f.Note)
		default:
			fmt.Fprintf(w, "\n%s", f.Patch)
		}
	}
}

// writePieces lists the pieces with their lines.
func (c *comparison) writePieces(w io.Writer) {
	fmt.Fprintln(w, "\nPieces")
	width := 0
	for _, piece := range c.Pieces {
		width = max(width, utf8.RuneCountInString(piece))
	}
	for _, piece := range c.Pieces {
		one := comparison{Comparison: &changes.Comparison{Files: c.Piece(piece)}}
		count := one.count(func(f changes.File) bool { return f.Shown(false) })
		fmt.Fprintf(w, "  %-*s  %s\n", width, piece, count)
	}
	name, _, _ := strings.Cut(c.After.Name, "-")
	fmt.Fprintf(w, "\nShow one: go tool lab diff %s %s\n", name, c.Pieces[0])
}
