// Package changes finds the difference between a stage and the one before, in the order and
// the pieces of the lesson's table "What changes".
package changes

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"microcomm/docs/tools/internal/repo"
)

// Kind is the kind of a file. Files are shown in this order.
type Kind int

// The kinds of files.
const (
	ChangedGo Kind = iota
	NewGo
	Schema
	Configuration
	Modules
	Tests
	Generated
)

func (k Kind) String() string {
	return [...]string{
		"changed Go", "new Go", "SQL and .proto", "manifests and other files", "go.mod", "tests", "Generated code",
	}[k]
}

// Comparison is the difference between two stages, in reading order.
type Comparison struct {
	Before, After repo.Stage
	Was, Is       map[string]string // their files' contents, with their module paths as [AnyModule]
	Files         []File
	Pieces        []string // the headings in the stage's table "What changes"
}

// File is a file that differs.
type File struct {
	Path           string
	Kind           Kind
	Rows           []Row    // its rows in the table "What changes": one for each piece that changes it
	Place          int      // its first row there, or that of the chosen piece
	Folded         bool     // listed with the chosen piece, and not shown
	Only           []string // the declarations of it that the chosen piece shows, or empty
	From           string   // the file it was renamed or copied from, or empty
	Added, Removed int
	Note           string // the line to show instead of the patch, or empty
	Patch          string
	Cut            bool // Patch leaves out what other pieces show
}

// Compare finds the difference between two stages of the checkout at root. Both go into a
// temporary git repository, so that paths are relative to a stage. The patches can be
// coloured for a terminal.
func Compare(ctx context.Context, root string, before, after repo.Stage, coloured bool) (*Comparison, error) {
	dir, err := os.MkdirTemp("", "microcomm-diff-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	repository := filepath.Join(dir, "repository")
	if _, err := repo.Git(ctx, dir, "init", "--quiet", "--bare", repository); err != nil {
		return nil, err
	}
	var contents []map[string]string
	var trees []string
	for _, s := range []repo.Stage{before, after} {
		files, err := Files(ctx, root, s)
		if err != nil {
			return nil, err
		}
		files["go.mod"] = withoutIndirect(files["go.mod"])
		tree, err := writeTree(ctx, repository, filepath.Join(dir, s.Name), files)
		if err != nil {
			return nil, err
		}
		contents, trees = append(contents, files), append(trees, tree)
	}
	c := &Comparison{Before: before, After: after, Was: contents[0], Is: contents[1]}
	differences := func(how ...string) (string, error) {
		args := append([]string{"--git-dir=" + repository, "diff", "--find-renames", "--find-copies-harder", "--patience", "--irreversible-delete", "--no-ext-diff"}, how...)
		return repo.Git(ctx, dir, append(args, trees...)...)
	}
	numbers, err := differences("--numstat", "-z")
	if err != nil {
		return nil, err
	}
	colours := "never"
	if coloured {
		colours = "always"
	}
	patches, err := differences("--color=" + colours)
	if err != nil {
		return nil, err
	}
	if c.Files, err = parseDifferences(numbers, patches); err != nil {
		return nil, err
	}
	c.order(ReadTable(after))
	return c, nil
}

// writeTree puts files into a tree of the repository, using the folder work.
func writeTree(ctx context.Context, repository, work string, files map[string]string) (string, error) {
	for name, content := range files {
		file := filepath.Join(work, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	at := []string{"-c", "core.autocrlf=false", "--git-dir=" + repository, "--work-tree=" + work}
	if _, err := repo.Git(ctx, work, append(at, "add", "--all", "--force", ".")...); err != nil {
		return "", err
	}
	tree, err := repo.Git(ctx, work, append(at, "write-tree")...)
	return strings.TrimSpace(tree), err
}

// withoutIndirect is a go.mod without its indirect requirements.
func withoutIndirect(gomod string) string {
	lines := regexp.MustCompile(`(?m)^.*// indirect\n`).ReplaceAllString(gomod, "")
	return strings.ReplaceAll(lines, "\nrequire (\n)\n", "")
}

// parseDifferences reads the output of git diff for the same files, once with
// --numstat -z and once as patches.
func parseDifferences(numbers, patches string) ([]File, error) {
	var files []File
	fields := strings.Split(numbers, "\x00")
	for len(fields) > 1 {
		var f File
		cells := strings.SplitN(fields[0], "\t", 3)
		if len(cells) != 3 {
			return nil, fmt.Errorf("git diff --numstat: %q", fields[0])
		}
		f.Added, _ = strconv.Atoi(cells[0]) // "-" for a binary file
		f.Removed, _ = strconv.Atoi(cells[1])
		f.Path, fields = cells[2], fields[1:]
		if f.Path == "" && len(fields) > 2 { // renamed or copied
			f.From, f.Path, fields = fields[0], fields[1], fields[2:]
		}
		files = append(files, f)
	}
	starts := regexp.MustCompile(`(?m)^(\x1b\[[0-9;]*m)?diff --git `).FindAllStringIndex(patches, -1)
	if len(starts) != len(files) {
		return nil, fmt.Errorf("git diff: %d patches for %d files", len(starts), len(files))
	}
	for i := range files {
		end := len(patches)
		if i+1 < len(files) {
			end = starts[i+1][0]
		}
		files[i].Patch = patches[starts[i][0]:end]
	}
	return files, nil
}

// order sorts the files as they are read: by kind, then in the order of the
// stage's table, then by path.
func (c *Comparison) order(table []Row) {
	rows := map[string][]Row{}
	for _, row := range table {
		rows[row.Path] = append(rows[row.Path], row)
		if row.Piece != "" && !slices.Contains(c.Pieces, row.Piece) {
			c.Pieces = append(c.Pieces, row.Piece)
		}
	}
	for i := range c.Files {
		f := &c.Files[i]
		_, was := c.Was[f.Path]
		_, copied := c.Is[f.From] // else it was renamed
		f.Kind = kindOf(f.Path, !was && (f.From == "" || copied))
		f.Place = len(table)
		if f.Rows = rows[f.Path]; f.Rows != nil {
			f.Place = f.Rows[0].Place
		}
	}
	slices.SortStableFunc(c.Files, func(a, b File) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Place, b.Place), cmp.Compare(a.Path, b.Path))
	})
}

func kindOf(name string, isNew bool) Kind {
	switch ext := path.Ext(name); {
	case strings.HasSuffix(name, "_test.go"):
		return Tests
	case strings.HasSuffix(name, ".pb.go"):
		return Generated
	case ext == ".go" && isNew:
		return NewGo
	case ext == ".go":
		return ChangedGo
	case ext == ".sql" || ext == ".proto":
		return Schema
	case name == "go.mod":
		return Modules
	}
	return Configuration
}

// NoteTwins finds the files for which one line is enough: those that were removed or
// only moved, and those that equal another file except for the package, if that file
// is shown before them or has not changed.
func (c *Comparison) NoteTwins() {
	read := map[string]string{} // by content, the file to name
	for _, name := range slices.Sorted(maps.Keys(c.Is)) {
		if content, was := c.Was[name]; was && content == c.Is[name] {
			read[TwinContent(name, content)] = name
		}
	}
	for i := range c.Files {
		f := &c.Files[i]
		content, there := c.Is[f.Path]
		_, copied := c.Is[f.From]
		twin := read[TwinContent(f.Path, content)]
		switch {
		case f.Note != "":
			continue // it is shown with another piece
		case !there:
			f.Note = "removed"
		case twin != "" && twin != f.Path:
			f.Note = "the same as " + twin + ", but for the package"
		case copied && f.Added+f.Removed == 0:
			f.Note = "the same as " + f.From
		case f.From != "" && f.Added+f.Removed == 0:
			f.Note = "moved from " + f.From
		default:
			read[TwinContent(f.Path, content)] = f.Path
			continue
		}
		f.Added, f.Removed = 0, 0
	}
}

// TwinContent is the same for two Go files of one name that differ in their
// package alone. Other files have no twins.
func TwinContent(name, content string) string {
	if path.Ext(name) != ".go" {
		return name
	}
	content = regexp.MustCompile(`(?m)^package .*$`).ReplaceAllString(content, "package")
	return path.Base(name) + "\x00" + content
}

// Shown reports whether the file's patch is shown.
func (f File) Shown(withTests bool) bool {
	return !f.Folded && (f.Kind < Tests || f.Kind == Tests && withTests)
}

// Stat is what happened to the file, in short.
func (f File) Stat() string {
	if f.Note != "" {
		return f.Note
	}
	stat := fmt.Sprintf("+%d -%d", f.Added, f.Removed)
	if f.From != "" {
		stat += " (from " + f.From + ")"
	}
	if len(f.Only) > 0 {
		stat += " (in " + strings.Join(f.Only, ", ") + ")"
	}
	if f.Folded {
		stat += " (folded)"
	}
	return stat
}
