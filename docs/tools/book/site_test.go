package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"microcomm/docs/tools/internal/changes"
	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/repo"
)

// The book as a reader gets it: built once, and then looked at from all sides.
func TestTheSite(t *testing.T) {
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
	t.Run("in a browser", func(t *testing.T) {
		ctx := openChromium(t)
		for _, one := range onePerKind(b) {
			t.Run(string(one.kind), func(t *testing.T) {
				for _, fault := range lookAt(t, ctx, "file://"+filepath.ToSlash(filepath.Join(dir, one.url)), root) {
					t.Errorf("%s: %s", one.url, fault)
				}
			})
		}
	})
}

// onePerKind is a page of each kind, the one with the least to look through.
func onePerKind(b *book) []*page {
	chosen := map[kind]*page{}
	for _, p := range b.pages {
		if c := chosen[p.kind]; c == nil || p.kind != lesson && len(p.html) < len(c.html) && len(p.html) > 2000 {
			chosen[p.kind] = p
		}
	}
	return slices.SortedFunc(maps.Values(chosen), func(a, b *page) int { return strings.Compare(a.url, b.url) })
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
		return cmpErr(err, relErr)
	})
}

func cmpErr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
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

// openChromium starts a Chromium, for the length of the test.
func openChromium(t *testing.T) context.Context {
	found, err := chromium.Ensure(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(found), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with it
	}
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return ctx
}

// lookAt opens a page, and returns what is wrong with it: what it asks of another host,
// scrolling sideways on a telephone, and what axe finds in either theme.
func lookAt(t *testing.T, browser context.Context, page, root string) []string {
	tab, cancel := chromedp.NewContext(browser)
	defer cancel()
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	tab, cancelTime := context.WithTimeout(tab, 2*time.Minute)
	defer cancelTime()
	var lock sync.Mutex
	var faults []string
	err := chromedp.Listen(tab, func(ev any) {
		e, ok := ev.(*network.EventRequestWillBeSent)
		if !ok {
			return
		}
		lock.Lock()
		defer lock.Unlock()
		if to, err := url.Parse(e.Request.URL); err != nil || to.Scheme != "data" && to.Scheme != "file" && e.Request.URL != page {
			faults = append(faults, "it asks for "+e.Request.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, theme := range []string{"light", "dark"} {
		media := chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
			_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
			return err
		})
		if err := chromedp.Do(tab, chromedp.EmulateViewport(360, 800), media, chromedp.Navigate(page)); err != nil {
			t.Fatal(err)
		}
		width, err := chromedp.Run(tab, chromedp.Evaluate[int]("document.documentElement.scrollWidth"))
		if err != nil {
			t.Fatal(err)
		}
		if width > 360 {
			faults = append(faults, fmt.Sprintf("it is %d pixels wide on a screen of 360", width))
		}
		for _, size := range []int64{360, 1440} {
			if err := chromedp.Do(tab, chromedp.EmulateViewport(size, 900), chromedp.Evaluate[chromedp.Void](axe(t, root))); err != nil {
				t.Fatal(err)
			}
			found, err := chromedp.Run(tab, chromedp.Evaluate[string](runAxe, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			var violations []string
			if err := json.Unmarshal([]byte(found), &violations); err != nil {
				t.Fatal(err)
			}
			for _, v := range violations {
				faults = append(faults, fmt.Sprintf("axe, %s, %d pixels: %s", theme, size, v))
			}
		}
	}
	lock.Lock()
	defer lock.Unlock()
	return faults
}

// runAxe returns what axe finds, as a list of texts in JSON.
const runAxe = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(function (r) {
	return JSON.stringify(r.violations.map(function (v) {
		return v.id + ": " + v.help + ", " + v.nodes.length + " times, first " + v.nodes[0].html.slice(0, 160) + " " + (v.nodes[0].any[0] ? v.nodes[0].any[0].message : "");
	}));
})`

// axe is the script of axe-core, which the console's tests have.
func axe(t *testing.T, root string) string {
	packed, err := os.ReadFile(filepath.Join(root, "final", "console", "testdata", "axe", "axe.min.js.gz"))
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

func TestAPageThatDoesNotReadWellIsNoticed(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1><img src="http://127.0.0.1:9/x.png"><div style="width: 500px">wide</div><p style="color: #999">pale</p></main>`)
	}))
	defer server.Close()
	found := strings.Join(lookAt(t, openChromium(t), server.URL+"/", root), "\n")
	for _, want := range []string{"it asks for http://127.0.0.1:9/x.png", "pixels wide on a screen of 360", "image-alt", "color-contrast"} {
		if !strings.Contains(found, want) {
			t.Errorf("not noticed: %s, in\n%s", want, found)
		}
	}
}
