package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"microcomm/docs/tools/internal/cli"
	"microcomm/docs/tools/internal/repo"
)

// kind is the kind of a file. Files are shown in this order.
type kind int

const (
	changedGo kind = iota
	newGo
	schema
	configuration
	modules
	tests
	generated
)

func (k kind) String() string {
	return [...]string{
		"changed Go", "new Go", "SQL and .proto", "manifests and other files", "go.mod", "tests", "generated code",
	}[k]
}

// comparison is what differs between two stages, in reading order.
type comparison struct {
	before, after repo.Stage
	was, is       map[string]string // their files' contents
	files         []changedFile
	pieces        []string // the headings in the stage's table "What changes"
	chosen        bool     // files are those of one piece, in the order of its table
}

// changedFile is a file that differs.
type changedFile struct {
	path           string
	kind           kind
	rows           []tableRow // of the table "What changes": one for each piece that changes it
	place          int        // its first row there, or that of the chosen piece
	folded         bool       // listed with the chosen piece, and not shown
	only           []string   // the declarations of it that the chosen piece shows, or empty
	from           string     // the file it was renamed or copied from, or empty
	added, removed int
	note           string // the line to show instead of the patch, or empty
	patch          string
}

// compare finds what differs between two stages. Both go into a temporary
// repository of git's, so that paths are those inside a stage.
func compare(ctx context.Context, l *lab, before, after repo.Stage) (*comparison, error) {
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
		files, err := comparedFiles(ctx, l.root, s)
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
	c := &comparison{before: before, after: after, was: contents[0], is: contents[1]}
	differences := func(how ...string) (string, error) {
		args := append([]string{"--git-dir=" + repository, "diff", "--find-renames", "--find-copies-harder", "--patience", "--irreversible-delete", "--no-ext-diff"}, how...)
		return repo.Git(ctx, dir, append(args, trees...)...)
	}
	numbers, err := differences("--numstat", "-z")
	if err != nil {
		return nil, err
	}
	colours := "never"
	if isTerminal(l.out) && os.Getenv("NO_COLOR") == "" {
		colours = "always"
	}
	patches, err := differences("--color=" + colours)
	if err != nil {
		return nil, err
	}
	if c.files, err = parseDifferences(numbers, patches); err != nil {
		return nil, err
	}
	c.order(readTable(after))
	return c, nil
}

// writeTree puts files into a tree of the repository, by way of the folder work.
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

// parseDifferences reads what git diff prints of the same files, once with
// --numstat -z and once as patches.
func parseDifferences(numbers, patches string) ([]changedFile, error) {
	var files []changedFile
	fields := strings.Split(numbers, "\x00")
	for len(fields) > 1 {
		var f changedFile
		cells := strings.SplitN(fields[0], "\t", 3)
		if len(cells) != 3 {
			return nil, fmt.Errorf("git diff --numstat: %q", fields[0])
		}
		f.added, _ = strconv.Atoi(cells[0]) // "-" for a binary file
		f.removed, _ = strconv.Atoi(cells[1])
		f.path, fields = cells[2], fields[1:]
		if f.path == "" && len(fields) > 2 { // renamed or copied
			f.from, f.path, fields = fields[0], fields[1], fields[2:]
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
		files[i].patch = patches[starts[i][0]:end]
	}
	return files, nil
}

// order sorts the files as they are read: by kind, then in the order of the
// stage's table, then by path.
func (c *comparison) order(table []tableRow) {
	rows := map[string][]tableRow{}
	for _, row := range table {
		rows[row.path] = append(rows[row.path], row)
		if row.piece != "" && !slices.Contains(c.pieces, row.piece) {
			c.pieces = append(c.pieces, row.piece)
		}
	}
	for i := range c.files {
		f := &c.files[i]
		_, was := c.was[f.path]
		_, copied := c.is[f.from] // else it was renamed
		f.kind = kindOf(f.path, !was && (f.from == "" || copied))
		f.place = len(table)
		if f.rows = rows[f.path]; f.rows != nil {
			f.place = f.rows[0].place
		}
	}
	slices.SortStableFunc(c.files, func(a, b changedFile) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.place, b.place), cmp.Compare(a.path, b.path))
	})
}

func kindOf(name string, isNew bool) kind {
	switch ext := path.Ext(name); {
	case strings.HasSuffix(name, "_test.go"):
		return tests
	case strings.HasSuffix(name, ".pb.go"):
		return generated
	case ext == ".go" && isNew:
		return newGo
	case ext == ".go":
		return changedGo
	case ext == ".sql" || ext == ".proto":
		return schema
	case name == "go.mod":
		return modules
	}
	return configuration
}

// note finds the files for which one line is enough: those that were removed or
// only moved, and those that equal another one but for the package, when that
// comes before them or has not changed.
func (c *comparison) note() {
	read := map[string]string{} // by content, the file to name
	for _, name := range slices.Sorted(maps.Keys(c.is)) {
		if content, was := c.was[name]; was && content == c.is[name] {
			read[twinContent(name, content)] = name
		}
	}
	for i := range c.files {
		f := &c.files[i]
		content, there := c.is[f.path]
		_, copied := c.is[f.from]
		twin := read[twinContent(f.path, content)]
		switch {
		case f.note != "":
			continue // it is shown with another piece
		case !there:
			f.note = "removed"
		case twin != "" && twin != f.path:
			f.note = "the same as " + twin + ", but for the package"
		case copied && f.added+f.removed == 0:
			f.note = "the same as " + f.from
		case f.from != "" && f.added+f.removed == 0:
			f.note = "moved from " + f.from
		default:
			read[twinContent(f.path, content)] = f.path
			continue
		}
		f.added, f.removed = 0, 0
	}
}

// twinContent is the same for two Go files of one name that differ in their
// package alone. Other files have no twins.
func twinContent(name, content string) string {
	if path.Ext(name) != ".go" {
		return name
	}
	content = regexp.MustCompile(`(?m)^package .*$`).ReplaceAllString(content, "package")
	return path.Base(name) + "\x00" + content
}

// choose keeps only the files of a piece: of one in the table, by its heading or a
// part of it, or those whose path contains that text or matches that pattern. A
// dot stands for all of them. With tests, the tests of those files come last.
func (c *comparison) choose(wanted string, withTests bool) error {
	if wanted == "." {
		return nil
	}
	heading := slices.IndexFunc(c.pieces, func(piece string) bool { return strings.EqualFold(piece, wanted) })
	if heading < 0 {
		heading = slices.IndexFunc(c.pieces, func(piece string) bool {
			return strings.Contains(strings.ToLower(piece), strings.ToLower(wanted))
		})
	}
	var chosen []changedFile
	piece := ""
	if heading >= 0 {
		piece = c.pieces[heading]
		chosen = c.of(piece)
	}
	c.chosen = len(chosen) > 0
	if !c.chosen {
		part := strings.ToLower(strings.TrimPrefix(filepath.ToSlash(wanted), c.after.Name+"/"))
		chosen = slices.DeleteFunc(slices.Clone(c.files), func(f changedFile) bool {
			whole, _ := path.Match(part, strings.ToLower(f.path))
			base, _ := path.Match(part, strings.ToLower(path.Base(f.path)))
			return !whole && !base && !strings.Contains(strings.ToLower(f.path), part)
		})
	}
	if len(chosen) == 0 {
		hint := "see: go tool lab diff --stat " + c.after.Name
		if len(c.pieces) > 0 {
			hint = cli.OrNearest(wanted, c.pieces, "its pieces are "+strings.Join(c.pieces, ", "))
		}
		return usageError(fmt.Sprintf("%s changes nothing called %s; %s", c.after.Name, wanted, hint))
	}
	if withTests {
		chosen = append(chosen, c.testsOf(chosen, piece)...)
	}
	c.files = chosen
	return nil
}

// writeStat lists the files by kind, and counts the lines that writePatches shows.
func (c *comparison) writeStat(w io.Writer, withTests bool) {
	fmt.Fprintf(w, "What %s changes in %s\n", c.after.Name, c.before.Name)
	if c.chosen {
		fmt.Fprintln(w)
	}
	width := 0
	for _, f := range c.files {
		width = max(width, len(f.path))
	}
	last := kind(-1)
	for _, f := range c.files {
		if f.kind != last && !c.chosen {
			title := f.kind.String()
			switch {
			case f.kind == generated:
				title += " (not shown)"
			case f.kind == tests && !withTests:
				title += " (shown with --tests)"
			}
			fmt.Fprintf(w, "\n%s\n", title)
			last = f.kind
		}
		fmt.Fprintf(w, "  %-*s  %s\n", width, f.path, f.stat())
	}
	if i := slices.IndexFunc(c.files, func(f changedFile) bool { return f.folded && f.kind < tests }); i >= 0 {
		name, _, _ := strings.Cut(c.after.Name, "-")
		fmt.Fprintf(w, "\nA folded file is shown when you name it: go tool lab diff %s %s\n", name, c.files[i].path)
	}
	fmt.Fprintf(w, "\n%s\n", c.count(func(f changedFile) bool { return f.shown(withTests) }))
}

// count counts files and the lines of their patches.
func (c *comparison) count(counted func(changedFile) bool) string {
	files, added, removed := 0, 0, 0
	for _, f := range c.files {
		if counted(f) && !strings.HasPrefix(f.note, "shown with ") {
			files, added, removed = files+1, added+f.added, removed+f.removed
		}
	}
	changed := "files changed"
	if files == 1 {
		changed = "file changed"
	}
	return fmt.Sprintf("%d %s, %d lines added, %d removed", files, changed, added, removed)
}

// shown reports whether the file's patch is shown.
func (f changedFile) shown(withTests bool) bool {
	return !f.folded && (f.kind < tests || f.kind == tests && withTests)
}

// stat is what happened to the file, in short.
func (f changedFile) stat() string {
	if f.note != "" {
		return f.note
	}
	stat := fmt.Sprintf("+%d -%d", f.added, f.removed)
	if f.from != "" {
		stat += " (from " + f.from + ")"
	}
	if len(f.only) > 0 {
		stat += " (in " + strings.Join(f.only, ", ") + ")"
	}
	if f.folded {
		stat += " (folded)"
	}
	return stat
}

// writePatches shows the differences.
func (c *comparison) writePatches(w io.Writer, withTests bool) {
	for _, f := range c.files {
		switch {
		case !f.shown(withTests):
		case f.note != "":
			fmt.Fprintf(w, "\n%s: %s\n", f.path, f.note)
		default:
			fmt.Fprintf(w, "\n%s", f.patch)
		}
	}
}
