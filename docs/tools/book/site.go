package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"microcomm/docs/tools/internal/repo"
)

// kind is what a page is for. It is a class of the page's body, too.
type kind string

const (
	home      kind = "home"
	lesson    kind = "lesson"
	piece     kind = "piece"    // of final
	exercises kind = "exercise" // one exercise
	reference kind = "reference"
	list      kind = "list" // made of other pages: all exercises, all questions
	diffs     kind = "diff"
	code      kind = "code" // a file
	tree      kind = "tree" // the files of a stage
	search    kind = "search"
	printed   kind = "print" // the course on one page
)

// page is one page of the site.
type page struct {
	url     string // from the site's top: 02-http-sync/index.html
	title   string
	lead    string // one sentence of HTML below the title, or empty
	kind    kind
	stage   string    // the stage it belongs to, or empty
	source  string    // the file it is made from, from the checkout's top; empty: several
	html    string    // what is in <main>, as XHTML. Links to other pages begin with book:
	outline []heading // of html
	wide    bool      // it uses the whole width
	beside  []link    // pages that go with it
	// The pages before and after it in reading order, or nil.
	previous, next *page
}

// heading is a heading of a page.
type heading struct {
	level    int
	id, text string
}

// link is a link with its text. Its URL is as in the HTML of a page: book:…
type link struct{ URL, Text string }

// book is the whole site.
type book struct {
	root       string
	repository string // where the pages can be edited, or empty
	stages     []repo.Stage
	files      []string        // of the checkout, with slashes
	has        map[string]bool // the files and their folders
	pages      []*page         // in order
	byURL      map[string]*page
	bySource   map[string]*page
	exercises  []exercisePage
	assets     map[string][]byte  // by URL, besides those embedded
	lessons    map[string]*parsed // by source: parsed once
	highlights highlights
	declared   declared
	diffs      []*diffPage
	undrawn    []string // pictures without a drawing
}

// load lists the pages there are, without what they say.
func load(ctx context.Context, root string) (*book, error) {
	b := &book{root: root, has: map[string]bool{}, byURL: map[string]*page{}, bySource: map[string]*page{}, assets: map[string][]byte{}}
	var err error
	if b.stages, err = repo.Stages(root); err != nil {
		return nil, err
	}
	listed, err := repo.Git(ctx, root, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	if err != nil {
		return nil, err
	}
	for _, file := range strings.Split(strings.TrimRight(listed, "\x00"), "\x00") {
		// git still lists a file that was deleted and not yet committed
		if _, err := os.Lstat(b.path(file)); file == "" || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		b.files = append(b.files, file)
		for at := file; at != "." && !b.has[at]; at = path.Dir(at) {
			b.has[at] = true
		}
	}
	return b, nil
}

// path is where a file of the checkout is.
func (b *book) path(file string) string { return filepath.Join(b.root, filepath.FromSlash(file)) }

func (b *book) read(file string) (string, error) {
	content, err := os.ReadFile(b.path(file))
	return string(content), err
}

// add adds a page.
func (b *book) add(p *page) *page {
	b.pages = append(b.pages, p)
	b.byURL[p.url] = p
	if p.source != "" && p.kind != code {
		b.bySource[p.source] = p
	}
	return p
}

// make makes all pages.
func (b *book) make(ctx context.Context) error {
	for _, list := range []func(context.Context) error{
		b.listDocuments, b.listExercises, b.listCode, b.findDeclarations, b.listDiffs, b.listLists, b.listSearch, b.listSpeaker, b.listPrint,
	} {
		if err := list(ctx); err != nil {
			return err
		}
	}
	for _, fill := range []func(context.Context) error{
		b.makeDocuments, b.makeExercises, b.makeDiffs, b.makeCode, b.makeLists, b.makeSpeaker, b.makeSearch, b.makePrint, b.makeEPUB,
	} {
		if err := fill(ctx); err != nil {
			return err
		}
	}
	return nil
}

// urlOf is the address of a file or folder of the checkout, with what the fragment
// names there. It is empty for a file that has no page.
func (b *book) urlOf(file, fragment string) string {
	if p := b.bySource[file]; p != nil {
		return p.url + fragmentOf(fragment)
	}
	if p := b.bySource[path.Join(file, "README.md")]; p != nil {
		return p.url + fragmentOf(fragment)
	}
	if path.Base(file) == "hints.md" {
		if p := b.bySource[path.Join(path.Dir(file), "README.md")]; p != nil {
			return p.url + "#hints"
		}
	}
	if b.byURL[codeURL(file)] != nil {
		return codeURL(file) + fragmentOf(fragment)
	}
	if info, err := os.Stat(b.path(file)); b.has[file] && err == nil && info.IsDir() {
		if top, inside, _ := strings.Cut(file, "/"); b.byURL[treeURL(top)] != nil {
			if slices.ContainsFunc(b.filesBelow(top), func(f string) bool { return strings.HasPrefix(f, file+"/") }) && inside != "" {
				return treeURL(top) + "#" + folderID(inside)
			}
			return treeURL(top)
		}
	}
	return ""
}

func fragmentOf(name string) string {
	if name == "" {
		return ""
	}
	return "#" + name
}

var bookLink = regexp.MustCompile(`\b(href|src|srcset|action)="book:([^"#]*)(#[^"]*)?"`)

// relative makes the links of a page's HTML, which lies at url, relative.
func relative(html, url string) string {
	return bookLink.ReplaceAllStringFunc(html, func(found string) string {
		parts := bookLink.FindStringSubmatch(found)
		to := parts[2]
		if to == url && parts[3] != "" {
			to = ""
		} else {
			to = relativeURL(url, to)
		}
		return parts[1] + `="` + to + parts[3] + `"`
	})
}

// relativeURL is the way from the page at one address to another.
func relativeURL(from, to string) string {
	a, b := strings.Split(from, "/"), strings.Split(to, "/")
	same := 0
	for same < len(a)-1 && same < len(b)-1 && a[same] == b[same] {
		same++
	}
	return strings.Repeat("../", len(a)-1-same) + strings.Join(b[same:], "/")
}

// write writes the site into the folder dir, which then holds nothing else that a
// book has written before.
func (b *book) write(ctx context.Context, dir string) error {
	if err := clear(dir); err != nil {
		return err
	}
	if err := writeFile(dir, marker, []byte("made by go tool lab book\n")); err != nil {
		return err
	}
	if err := b.writeAssets(dir); err != nil {
		return err
	}
	frame, err := b.frame()
	if err != nil {
		return err
	}
	return inParallel(ctx, b.pages, func(p *page) error {
		text, err := frame.page(p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.url, err)
		}
		return writeFile(dir, p.url, []byte(relative(text, p.url)))
	})
}

// marker is the file that says that a folder is a book.
const marker = ".book"

// clear removes what an earlier book has left in dir. It refuses a folder that holds
// anything else.
func clear(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return nil
	}
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == marker }) {
		return fmt.Errorf("%s holds something other than a book; name an empty folder with --out", dir)
	}
	return os.RemoveAll(dir)
}

func writeFile(dir, url string, content []byte) error {
	file := filepath.Join(dir, filepath.FromSlash(url))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}

// inParallel does f for all items, one per core at a time, and returns the first error.
func inParallel[T any](ctx context.Context, items []T, f func(T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	queue := make(chan T)
	var working sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		working.Go(func() {
			for item := range queue {
				if err := f(item); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, item := range items {
		select {
		case queue <- item:
			continue
		case <-ctx.Done():
		}
		break
	}
	close(queue)
	working.Wait()
	return context.Cause(ctx)
}

// report says what an author may want to know.
func (b *book) report(w io.Writer) {
	for _, line := range b.reportRemarks() {
		fmt.Fprintln(w, line)
	}
	if len(b.undrawn) > 0 {
		fmt.Fprintf(w, "not drawn, and shown as text (go tool lab book --pictures draws them):\n  %s\n", strings.Join(b.undrawn, "\n  "))
	}
}

// repository is the address under which the files can be edited: the one given, or
// that of git's remote when it is a page, or empty.
func repository(ctx context.Context, root, given string) string {
	if given != "" {
		return strings.TrimSuffix(given, "/")
	}
	remote, err := repo.Git(ctx, root, "remote", "get-url", "origin")
	if err != nil {
		return "" // a checkout without a remote
	}
	remote = strings.TrimSuffix(strings.TrimSpace(remote), ".git")
	if host, name, found := strings.Cut(strings.TrimPrefix(remote, "git@"), ":"); found && strings.HasPrefix(remote, "git@") {
		remote = "https://" + host + "/" + name
	}
	if !strings.HasPrefix(remote, "https://") || strings.Contains(remote, "@") {
		return ""
	}
	return remote
}
