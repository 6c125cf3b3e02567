package main

import (
	"errors"
	"fmt"
	"html"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/chromium/chromiumtest"
	"microcomm/docs/tools/internal/repo"
)

// The book as a reader gets it: built once, and then looked at from all sides.
func TestTheSite(t *testing.T) {
	if underRace {
		t.Skip("takes minutes with the race detector; lab verify book runs it without")
	}
	dir := filepath.Join(t.TempDir(), "book")
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	b, err := load(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.write(t.Context(), dir); err != nil {
		t.Fatal(err)
	}
	t.Run("every link and anchor leads somewhere", func(t *testing.T) {
		s, err := readSite(dir)
		if err != nil {
			t.Fatal(err)
		}
		if len(s) < 500 {
			t.Errorf("the site has %d pages", len(s))
		}
		for _, fault := range s.faults(dir) {
			t.Error(fault)
		}
	})
	t.Run("each stage's diff shows all that lab diff prints", func(t *testing.T) { testDiffs(t, b, dir) })
	t.Run("every lesson's snippet leads to its file", func(t *testing.T) {
		for source, d := range b.lessons {
			for _, s := range d.snippets {
				if b.urlOf(s.file, "") == "" {
					t.Errorf("%s: %s has no page", source, s.file)
				}
			}
		}
	})
	t.Run("an identifier leads to a line that declares it", func(t *testing.T) { testIdentifiers(t, b) })
	t.Run("every link of the EPUB leads somewhere", func(t *testing.T) { checkEPUB(t, b.assets[epubURL], len(b.parts())) })
	t.Run("each exercise is in the course on one page", func(t *testing.T) { testPrint(t, b) })
	t.Run("each paragraph that names code is beside it", func(t *testing.T) { testMentions(t, b) })
	t.Run("each stage's diff shows code before YAML, which is folded", func(t *testing.T) { testReadingOrder(t, b) })
	t.Run("a list of code has no folder without files", func(t *testing.T) {
		for _, p := range b.pages {
			if empty := regexp.MustCompile(`<h2 [^>]*>([^<]*)</h2>\s*(?:<h2|</div>)`).FindStringSubmatch(p.html); p.kind == tree && empty != nil {
				t.Errorf("%s: %s", p.url, empty[1])
			}
		}
	})
	t.Run("a file in the table of what changes is a link", func(t *testing.T) { testChangesTable(t, b) })
	t.Run("an identifier of a diff leads to its declaration", func(t *testing.T) { testDiffLinks(t, b) })
	t.Run("in a browser", func(t *testing.T) {
		ctx := chromiumtest.Start(t)
		for _, one := range append(onePerKind(b), b.byURL[diffURL("06-rabbitmq")]) { // the last has several remarks
			t.Run(string(one.kind), func(t *testing.T) {
				for _, fault := range lookAt(t, ctx, "file://"+filepath.ToSlash(filepath.Join(dir, one.url)), root) {
					t.Errorf("%s: %s", one.url, fault)
				}
			})
		}
		t.Run("a declaration is found", func(t *testing.T) { testSearch(t, ctx, dir) })
		t.Run("a recording is played", func(t *testing.T) { testRecording(t, ctx, dir, root) })
		t.Run("a recording follows the theme of its lesson", func(t *testing.T) { testThemeOfRecording(t, ctx, dir) })
		t.Run("on a phone", func(t *testing.T) {
			for _, p := range b.pages {
				if p.kind == code || p.kind == diffs { // hundreds; those above stand for them
					continue
				}
				if width := widthOf(t, ctx, "file://"+filepath.ToSlash(filepath.Join(dir, p.url))); width > 360 {
					t.Errorf("%s is %d pixels wide on a screen of 360", p.url, width)
				}
			}
		})
	})
}

// site is the text of the pages, by their path in the folder.
type site map[string]string

func readSite(dir string) (site, error) {
	s := site{}
	return s, filepath.WalkDir(dir, func(file string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(file, ".html") {
			return err
		}
		content, err := os.ReadFile(file)
		name, relErr := filepath.Rel(dir, file)
		s[filepath.ToSlash(name)] = string(content)
		return errors.Join(err, relErr)
	})
}

var (
	anyLink = regexp.MustCompile(`\s(href|src|srcset|action)="([^"]*)"`)
	anyID   = regexp.MustCompile(`\sid="([^"]*)"`)
)

// faults are the links of the site in dir that lead nowhere or need another host, and
// ids that a page has twice.
func (s site) faults(dir string) []string {
	var found []string
	ids := map[string]map[string]bool{}
	for name, text := range s {
		ids[name] = map[string]bool{}
		for _, id := range anyID.FindAllStringSubmatch(text, -1) {
			if ids[name][html.UnescapeString(id[1])] {
				found = append(found, fmt.Sprintf("%s: two elements have the id %s", name, id[1]))
			}
			ids[name][html.UnescapeString(id[1])] = true
		}
	}
	for name, text := range s {
		for _, l := range anyLink.FindAllStringSubmatch(text, -1) {
			target := html.UnescapeString(l[2])
			to, err := url.Parse(target)
			switch {
			case err != nil:
				found = append(found, fmt.Sprintf("%s: %s: %v", name, target, err))
			case l[1] == "href" && (to.Scheme == "https" || to.Scheme == "http"): // for the reader to follow
			case to.Scheme != "" || to.Host != "" || strings.HasPrefix(to.Path, "/"):
				found = append(found, fmt.Sprintf("%s: %s is not relative", name, target))
			default:
				file := name
				if to.Path != "" {
					file = path.Join(path.Dir(name), to.Path)
				}
				if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(file))); err != nil || strings.HasSuffix(to.Path, "/") {
					found = append(found, fmt.Sprintf("%s: %s leads nowhere", name, target))
				} else if to.Fragment != "" && !ids[file][to.Fragment] {
					found = append(found, fmt.Sprintf("%s: %s has no such anchor", name, target))
				}
			}
		}
	}
	slices.Sort(found)
	return found
}

func TestABrokenSiteIsNoticed(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"index.html":    `<p id="a" id="a"><a href="gone.html">1</a><a href="sub/page.html#no">2</a><a href="#b">3</a><a href="/sub/page.html">4</a><a href="sub/">5</a><img src="https://example.org/x.png" /></p>`,
		"sub/page.html": `<p id="here"><a href="../index.html#a">fine</a><a href="https://go.dev">fine</a></p>`,
	} {
		if err := writeFile(dir, name, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	s, err := readSite(dir)
	if err != nil {
		t.Fatal(err)
	}
	found := strings.Join(s.faults(dir), "\n")
	for _, want := range []string{"gone.html leads nowhere", "#no has no such anchor", "#b has no such anchor", "/sub/page.html is not relative", "sub/ leads nowhere", "x.png is not relative", "two elements have the id a"} {
		if !strings.Contains(found, want) {
			t.Errorf("not noticed: %s, in\n%s", want, found)
		}
	}
	if n := strings.Count(found, "\n") + 1; n != 7 {
		t.Errorf("%d faults, want 7:\n%s", n, found)
	}
}

var (
	changedFile = regexp.MustCompile(`(?s)<section class="changed" id="([^"]+)">(.*?)</section>`)
	marked      = regexp.MustCompile(`(?s)<(ins|del)>(.*?)</(?:ins|del)>`)
	codeOfLine  = regexp.MustCompile(`(?s)<code>(.*?)</code></div>`)
	asideOld    = regexp.MustCompile(`(?s)<div class="old" aria-hidden="true">.*?</div></div>`)
	tag         = regexp.MustCompile(`<[^>]*>`)
)

// testDiffs compares the lines that are marked as added or removed in the pages with
// those of git's patches, which lab diff prints.
func testDiffs(t *testing.T, b *book, dir string) {
	compared := 0
	for _, d := range b.diffs {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(d.page.url)))
		if err != nil {
			t.Fatal(err)
		}
		shown := map[string]string{} // by the file's id
		for _, s := range changedFile.FindAllStringSubmatch(string(text), -1) {
			shown[s[1]] = s[2]
		}
		once := map[string]bool{}
		of := *d.comparison
		if d.piece != "" {
			of.Files = of.Piece(d.piece)
		}
		of.NoteTwins()
		for _, f := range of.Files {
			id := fileID(f.Path)
			if once[id] {
				id += "-rest"
			}
			once[id] = true
			section, there := shown[id]
			if !there {
				t.Errorf("%s does not show %s", d.page.url, f.Path)
				continue
			}
			if f.Note != "" || f.Kind == changes.Generated {
				continue
			}
			got, want := shownLines(section), patchLines(f.Patch, of.Before.Module(), of.After.Module())
			if !slices.Equal(got, want) {
				t.Errorf("%s, %s: %d lines are shown as changed, and lab diff prints %d; the first that differs: %s", d.page.url, f.Path, len(got), len(want), firstDifference(got, want))
			}
			compared += len(want)
		}
	}
	if compared < 5000 {
		t.Errorf("only %d lines were compared", compared)
	}
}

// testIdentifiers looks up each identifier of the chapters' code in the line that it leads to.
func testIdentifiers(t *testing.T, b *book) {
	count := 0
	for _, p := range b.pages {
		if p.kind != code || !strings.HasSuffix(p.source, ".go") || p.stage == "" {
			continue
		}
		content, err := b.read(p.source)
		if err != nil {
			t.Fatal(err)
		}
		for offset, to := range b.declared.linksIn(p.source, content) {
			name := content[offset : offset+to.length]
			target, line, _ := strings.Cut(to.url, "#L")
			other := b.byURL[target]
			if other == nil {
				t.Errorf("%s: %s leads to %s", p.source, name, to.url)
				continue
			}
			text, err := b.read(other.source)
			if err != nil {
				t.Fatal(err)
			}
			n, err := strconv.Atoi(line)
			if lines := strings.Split(text, "\n"); err != nil || n > len(lines) || !regexp.MustCompile(`\b`+name+`\b`).MatchString(lines[n-1]) {
				t.Errorf("%s: %s leads to %s, which does not declare it", p.source, name, to.url)
			}
			count++
		}
	}
	if count < 10000 {
		t.Errorf("only %d identifiers lead somewhere", count)
	}
}

// shownLines are the lines of a section that are marked: + or -, and the text, sorted.
func shownLines(section string) []string {
	var lines []string
	for _, run := range marked.FindAllStringSubmatch(section, -1) {
		sign := map[string]string{"ins": "+", "del": "-"}[run[1]]
		for _, code := range codeOfLine.FindAllStringSubmatch(run[2], -1) {
			lines = append(lines, sign+html.UnescapeString(tag.ReplaceAllString(code[1], "")))
		}
	}
	slices.Sort(lines)
	return lines
}

// patchLines are the added and removed lines of a patch, sorted.
func patchLines(patch, before, after string) []string {
	var lines []string
	inHunk := false
	for line := range strings.Lines(patch) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case strings.HasPrefix(line, "@@"):
			inHunk = true
		case inHunk && strings.HasPrefix(line, "+"):
			lines = append(lines, strings.ReplaceAll(line, changes.AnyModule, after))
		case inHunk && strings.HasPrefix(line, "-"):
			lines = append(lines, strings.ReplaceAll(line, changes.AnyModule, before))
		}
	}
	slices.Sort(lines)
	return lines
}

func firstDifference(got, want []string) string {
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			return fmt.Sprintf("%q, not %q", at(got, i), at(want, i))
		}
	}
	return ""
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return ""
}
