package changes

import (
	"cmp"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Piece returns the files of a piece, in the order of its table. A row that names
// Declarations shows those. All else in the file is shown with the first row that
// names none.
func (c *Comparison) Piece(piece string) []File {
	var files []File
	for _, f := range c.Files {
		whole := max(0, slices.IndexFunc(f.Rows, func(row Row) bool { return len(row.Names) == 0 }))
		var named []string
		for _, row := range f.Rows {
			named = append(named, row.Names...)
		}
		for at, row := range f.Rows {
			if row.Piece != piece {
				continue
			}
			shown := f
			shown.Place, shown.Folded = row.Place, row.Folded
			switch {
			case at == whole && len(row.Names) == 0 && len(named) > 0 && f.Note == "":
				c.cut(&shown, func(names declared) bool { return !slices.ContainsFunc(named, names.has) })
			case at == whole && len(row.Names) == 0:
			case len(row.Names) == 0:
				shown.Note, shown.Added, shown.Removed = "shown with "+f.Rows[whole].Piece, 0, 0
			default:
				c.cut(&shown, func(names declared) bool { return slices.ContainsFunc(row.Names, names.has) })
				shown.Only = row.Names
			}
			files = append(files, shown)
		}
	}
	slices.SortStableFunc(files, func(a, b File) int { return cmp.Compare(a.Place, b.Place) })
	return files
}

// TestsOf returns the tests that belong to chosen files and are not among them:
// x_test.go to the x.go beside it, or else to an x.go elsewhere. The tests in e2e
// belong to no file. When the chosen files are those of a piece, it must be the first
// one that lists x.go.
func (c *Comparison) TestsOf(chosen []File, piece string) []File {
	var found []File
	for _, f := range c.Files {
		if f.Kind != Tests || strings.HasPrefix(f.Path, "e2e/") || slices.ContainsFunc(chosen, func(other File) bool { return other.Path == f.Path }) {
			continue
		}
		tested := strings.TrimSuffix(f.Path, "_test.go") + ".go"
		at := slices.IndexFunc(c.Files, func(code File) bool { return code.Path == tested })
		if at < 0 {
			at = slices.IndexFunc(c.Files, func(code File) bool { return path.Base(code.Path) == path.Base(tested) })
		}
		if at < 0 || piece != "" && (len(c.Files[at].Rows) == 0 || c.Files[at].Rows[0].Piece != piece) {
			continue
		}
		if slices.ContainsFunc(chosen, func(code File) bool { return code.Path == c.Files[at].Path }) {
			found = append(found, f)
		}
	}
	return found
}

// cut leaves only those lines of a file's patch that are in Declarations to keep.
// The lines before the first declaration have none: keep gets nil.
func (c *Comparison) cut(f *File, keep func(names declared) bool) {
	was, is := DeclarationsOf(c.Was[cmp.Or(f.From, f.Path)]), DeclarationsOf(c.Is[f.Path])
	hunk := regexp.MustCompile(`^@@ -(\d+)(?:,\d+)? \+(\d+)`)
	colours := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	var patch strings.Builder
	var run []string // adjacent lines to keep
	changed := false // whether one of them is new or removed
	flush := func() {
		if changed {
			patch.WriteString(strings.Join(run, ""))
		}
		run, changed = nil, false
	}
	f.Added, f.Removed, f.Cut = 0, 0, true
	oldLine, newLine, inHunk := 0, 0, false
	for line := range strings.Lines(f.Patch) {
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
			flush() // otherwise lines that git shows as removed between them are left out
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
			f.Removed++
			changed = true
		} else if kept && plain[0] == '+' {
			f.Added++
			changed = true
		}
	}
	flush()
	f.Patch = patch.String()
}

// declared are the names of one declaration. A method has two: insert and
// sqliteStore.insert.
type declared []string

func (d declared) has(name string) bool { return slices.Contains(d, name) }

// Declarations are those of a Go file, in its order.
type Declarations []struct {
	line  int // where its comment begins
	names declared
}

// DeclarationsOf returns the Declarations of a Go file, and none of another file.
func DeclarationsOf(content string) Declarations {
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, "", content, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil
	}
	found := make(Declarations, len(file.Decls))
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

// Has reports whether one of them has that name.
func (d Declarations) Has(name string) bool {
	for _, one := range d {
		if one.names.has(name) {
			return true
		}
	}
	return false
}

// at returns the names of the declaration that a line belongs to: the last one that
// begins before it.
func (d Declarations) at(line int) (names declared) {
	for _, one := range d {
		if one.line > line {
			break
		}
		names = one.names
	}
	return names
}
