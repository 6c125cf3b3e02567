package main

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// of returns the files of a piece, in the order of its table. A row that names
// declarations shows those. All else in the file is shown with the first row that
// names none.
func (c *comparison) of(piece string) []changedFile {
	var files []changedFile
	for _, f := range c.files {
		whole := max(0, slices.IndexFunc(f.rows, func(row tableRow) bool { return len(row.names) == 0 }))
		var named []string
		for _, row := range f.rows {
			named = append(named, row.names...)
		}
		for at, row := range f.rows {
			if row.piece != piece {
				continue
			}
			shown := f
			shown.place, shown.folded = row.place, row.folded
			switch {
			case at == whole && len(row.names) == 0 && len(named) > 0 && f.note == "":
				c.cut(&shown, func(names declared) bool { return !slices.ContainsFunc(named, names.has) })
			case at == whole && len(row.names) == 0:
			case len(row.names) == 0:
				shown.note, shown.added, shown.removed = "shown with "+f.rows[whole].piece, 0, 0
			default:
				c.cut(&shown, func(names declared) bool { return slices.ContainsFunc(row.names, names.has) })
				shown.only = row.names
			}
			files = append(files, shown)
		}
	}
	slices.SortStableFunc(files, func(a, b changedFile) int { return cmp.Compare(a.place, b.place) })
	return files
}

// testsOf returns the tests that belong to chosen files and are not among them:
// x_test.go to the x.go beside it, or else to an x.go elsewhere. The tests in e2e
// belong to no file. When the chosen files are those of a piece, it must be the first
// one that lists x.go.
func (c *comparison) testsOf(chosen []changedFile, piece string) []changedFile {
	var found []changedFile
	for _, f := range c.files {
		if f.kind != tests || strings.HasPrefix(f.path, "e2e/") || slices.ContainsFunc(chosen, func(other changedFile) bool { return other.path == f.path }) {
			continue
		}
		tested := strings.TrimSuffix(f.path, "_test.go") + ".go"
		at := slices.IndexFunc(c.files, func(code changedFile) bool { return code.path == tested })
		if at < 0 {
			at = slices.IndexFunc(c.files, func(code changedFile) bool { return path.Base(code.path) == path.Base(tested) })
		}
		if at < 0 || piece != "" && (len(c.files[at].rows) == 0 || c.files[at].rows[0].piece != piece) {
			continue
		}
		if slices.ContainsFunc(chosen, func(code changedFile) bool { return code.path == c.files[at].path }) {
			found = append(found, f)
		}
	}
	return found
}

// cut leaves only those lines of a file's patch that are in declarations to keep.
// The lines before the first declaration have none: keep gets nil.
func (c *comparison) cut(f *changedFile, keep func(names declared) bool) {
	was, is := declarationsOf(c.was[cmp.Or(f.from, f.path)]), declarationsOf(c.is[f.path])
	hunk := regexp.MustCompile(`^@@ -(\d+)(?:,\d+)? \+(\d+)`)
	colours := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	var patch strings.Builder
	var run []string // the lines to keep that follow each other
	changed := false // whether one of them is new or removed
	flush := func() {
		if changed {
			patch.WriteString(strings.Join(run, ""))
		}
		run, changed = nil, false
	}
	f.added, f.removed = 0, 0
	oldLine, newLine, inHunk := 0, 0, false
	for line := range strings.Lines(f.patch) {
		plain := colours.ReplaceAllString(line, "")
		if at := hunk.FindStringSubmatch(plain); at != nil {
			flush()
			fmt.Sscan(at[1]+" "+at[2], &oldLine, &newLine)
			inHunk = true
			continue
		}
		if !inHunk {
			patch.WriteString(line)
			continue
		}
		names := is.at(newLine)
		if plain[0] == '-' {
			names = was.at(oldLine)
		}
		if keep(names) {
			if run == nil {
				run = []string{fmt.Sprintf("@@ -%d +%d @@\n", oldLine, newLine)}
			}
			run = append(run, line)
		} else if plain[0] != '-' || !keep(is.at(newLine)) {
			flush() // else what git shows as removed between lines to keep is left out
		}
		switch plain[0] {
		case '-':
			oldLine++
		case '+':
			newLine++
		case ' ':
			oldLine, newLine = oldLine+1, newLine+1
		}
		if kept := keep(names); kept && plain[0] == '-' {
			f.removed++
			changed = true
		} else if kept && plain[0] == '+' {
			f.added++
			changed = true
		}
	}
	flush()
	f.patch = patch.String()
}

// declared are the names of one declaration. A method has two: insert and
// sqliteStore.insert.
type declared []string

func (d declared) has(name string) bool { return slices.Contains(d, name) }

// declarations are those of a Go file, in its order.
type declarations []struct {
	line  int // where its comment begins
	names declared
}

// declarationsOf returns the declarations of a Go file, and none of another file.
func declarationsOf(content string) declarations {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	found := make(declarations, len(file.Decls))
	for i, d := range file.Decls {
		at := d.Pos()
		doc := func(comment *ast.CommentGroup) {
			if comment != nil {
				at = comment.Pos()
			}
		}
		switch d := d.(type) {
		case *ast.FuncDecl:
			doc(d.Doc)
			found[i].names = declared{d.Name.Name}
			if d.Recv != nil {
				receiver := d.Recv.List[0].Type
				if star, ok := receiver.(*ast.StarExpr); ok {
					receiver = star.X
				}
				if name, ok := receiver.(*ast.Ident); ok {
					found[i].names = append(found[i].names, name.Name+"."+d.Name.Name)
				}
			}
		case *ast.GenDecl:
			doc(d.Doc)
			for _, s := range d.Specs {
				switch s := s.(type) {
				case *ast.TypeSpec:
					found[i].names = append(found[i].names, s.Name.Name)
				case *ast.ValueSpec:
					for _, name := range s.Names {
						found[i].names = append(found[i].names, name.Name)
					}
				}
			}
		}
		found[i].line = files.Position(at).Line
	}
	return found
}

// has reports whether one of them has that name.
func (d declarations) has(name string) bool {
	for _, one := range d {
		if one.names.has(name) {
			return true
		}
	}
	return false
}

// at returns the names of the declaration that a line belongs to: the last one that
// begins before it.
func (d declarations) at(line int) (names declared) {
	for _, one := range d {
		if one.line > line {
			break
		}
		names = one.names
	}
	return names
}

// writePieces lists the pieces with their lines.
func (c *comparison) writePieces(w io.Writer) {
	fmt.Fprintln(w, "\nPieces")
	width := 0
	for _, piece := range c.pieces {
		width = max(width, utf8.RuneCountInString(piece))
	}
	for _, piece := range c.pieces {
		one := comparison{files: c.of(piece)}
		count := one.count(func(f changedFile) bool { return f.shown(false) })
		fmt.Fprintf(w, "  %-*s  %s\n", width, piece, count)
	}
	name, _, _ := strings.Cut(c.after.Name, "-")
	fmt.Fprintf(w, "\nShow one: go tool lab diff %s %s\n", name, c.pieces[0])
}
