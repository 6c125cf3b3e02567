package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
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

	"microcomm/docs/tools/internal/chromium/chromiumtest"
	"microcomm/docs/tools/internal/repo"
)

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

// lookAt opens a page, and returns what is wrong with it: what it asks of another host,
// scrolling sideways on a telephone, and what axe finds in either theme.
func lookAt(t *testing.T, browser context.Context, page, root string) []string {
	tab, cancel := chromedp.NewContext(browser)
	defer cancel()
	if err := chromedp.Do(tab); err != nil {
		t.Fatal(err)
	}
	tab, cancelTime := context.WithTimeout(tab, 20*time.Minute) // on a busy machine axe needs two for a long diff
	defer cancelTime()
	var lock sync.Mutex // the listener runs beside the test
	var faults []string
	add := func(fault string) {
		lock.Lock()
		defer lock.Unlock()
		faults = append(faults, fault)
	}
	err := chromedp.Listen(tab, func(ev any) {
		e, ok := ev.(*network.EventRequestWillBeSent)
		if !ok {
			return
		}
		if to, err := url.Parse(e.Request.URL); err != nil || to.Scheme != "data" && to.Scheme != "file" && e.Request.URL != page {
			add("it asks for " + e.Request.URL)
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
		if err := chromedp.Do(tab, media); err != nil {
			t.Fatal(err)
		}
		if width := widthOf(t, tab, page); width > 360 {
			add(fmt.Sprintf("it is %d pixels wide on a screen of 360", width))
		}
		found, err := chromedp.Run(tab, chromedp.Evaluate[string](cuesAndShifts, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		if found != "" {
			add(theme + ": " + found)
		}
		for _, size := range []int64{360, 1440} {
			if err := chromedp.Do(tab, chromedp.EmulateViewport(size, 900), chromedp.Evaluate[chromedp.Void](chromiumtest.Axe(t, root))); err != nil {
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
				add(fmt.Sprintf("axe, %s, %d pixels: %s", theme, size, v))
			}
		}
	}
	lock.Lock()
	defer lock.Unlock()
	return slices.Clone(faults)
}

// widthOf opens a page on a screen of 360 pixels, and returns how wide it gets.
func widthOf(t *testing.T, tab context.Context, page string) int {
	if err := chromedp.Do(tab, chromedp.EmulateViewport(360, 800), chromedp.Navigate(page)); err != nil {
		t.Fatal(err)
	}
	width, err := chromedp.Run(tab, chromedp.Evaluate[int]("document.documentElement.scrollWidth"))
	if err != nil {
		t.Fatal(err)
	}
	return width
}

// cuesAndShifts returns which box scrolls sideways without fading there, or without a stop for the
// keyboard, and how far things have moved since the page was shown.
const cuesAndShifts = `new Promise(function (done) {
	var moved = 0;
	new PerformanceObserver(function (list) {
		list.getEntries().forEach(function (shift) { moved += shift.value; });
	}).observe({ type: "layout-shift", buffered: true });
	requestAnimationFrame(function () { requestAnimationFrame(function () { // the boxes are measured in the first
		var boxes = Array.from(document.querySelectorAll("pre, .table, .drawn")).filter(function (box) {
			return box.checkVisibility() && box.scrollWidth > box.clientWidth + 1 && (box.tabIndex < 0 || !box.matches(".more"));
		});
		done((moved > 0.05 ? "things move, by " + moved + " " : "") +
			(boxes.length ? boxes.length + " boxes scroll sideways without a cue, first " + boxes[0].outerHTML.slice(0, 160) : ""));
	}); });
})`

// runAxe returns what axe finds, as a list of texts in JSON.
const runAxe = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}).then(function (r) {
	return JSON.stringify(r.violations.map(function (v) {
		return v.id + ": " + v.help + ", " + v.nodes.length + " times, first " + v.nodes[0].html.slice(0, 160) + " " + (v.nodes[0].any[0] ? v.nodes[0].any[0].message : "");
	}));
})`

func TestAPageThatDoesNotReadWellIsNoticed(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><html lang="en"><title>A page</title><main><h1>A page</h1><img src="http://127.0.0.1:9/x.png"><div style="width: 500px">wide</div><p style="color: #999">pale</p><pre style="overflow: auto">`+strings.Repeat("long ", 99)+`</pre></main>`)
	}))
	defer server.Close()
	found := strings.Join(lookAt(t, chromiumtest.Start(t), server.URL+"/", root), "\n")
	for _, want := range []string{"it asks for http://127.0.0.1:9/x.png", "pixels wide on a screen of 360", "image-alt", "color-contrast", "scroll sideways without a cue"} {
		if !strings.Contains(found, want) {
			t.Errorf("not noticed: %s, in\n%s", want, found)
		}
	}
}

// testRecording plays a recording, in its own page and in the lesson that shows it.
func testRecording(t *testing.T, browser context.Context, dir, root string) {
	file := func(url string) string { return "file://" + filepath.ToSlash(filepath.Join(dir, url)) }
	for _, fault := range lookAt(t, browser, file("players/02-commands-down.html"), root) {
		t.Error(fault)
	}
	for _, lesson := range []string{"02-http-sync", "06-rabbitmq", "07-grpc", "final"} {
		widthOf(t, browser, file(lesson+"/index.html"))
		framed, err := chromedp.Run(browser, chromedp.Evaluate[bool](`document.querySelector(".recording iframe[loading=lazy]") !== null`))
		if err != nil {
			t.Fatal(err)
		}
		if !framed {
			t.Errorf("%s shows no recording", lesson)
		}
	}
	widthOf(t, browser, file("players/02-commands-down.html"))
	moved, err := chromedp.Run(browser, chromedp.Evaluate[bool](playsOn, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if !moved {
		t.Error("the position does not move after Play is pressed")
	}
}

// testThemeOfRecording switches the theme of a lesson twice, and looks whether its recording
// follows. The site is served: in a browser, a page that is a file may not look into another.
func testThemeOfRecording(t *testing.T, browser context.Context, dir string) {
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	defer server.Close()
	tab, cancel := chromedp.NewContext(browser)
	defer cancel()
	widthOf(t, tab, server.URL+"/02-http-sync/index.html")
	shown, err := chromedp.Run(tab, chromedp.Evaluate[string](followsTheme, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if shown != "followed" {
		t.Error(shown)
	}
}

// followsTheme waits until the recording is in the theme of the page, and then again after each
// of two clicks on the button, for a minute at most each time.
const followsTheme = `new Promise(function (done) {
	var frame = document.querySelector(".recording iframe"), clicks = 0, begun = performance.now();
	frame.scrollIntoView();
	function isDark(element) { // its text is bright
		return getComputedStyle(element).color.match(/[0-9]+/g).slice(0, 3).reduce(function (a, b) { return a + Number(b); }, 0) > 384;
	}
	(function look() {
		var player = frame.contentDocument && frame.contentDocument.querySelector(".mc");
		if (player && isDark(player) === isDark(document.body)) {
			if (clicks === 2) return done("followed");
			document.querySelector(".theme").click();
			clicks++;
			begun = performance.now();
		}
		if (performance.now() - begun > 60000) return done("after " + clicks + " clicks the recording is not in the theme of its lesson");
		requestAnimationFrame(look);
	})();
})`

// testSearch looks for a declaration, in the site as files.
func testSearch(t *testing.T, browser context.Context, dir string) {
	tab, cancel := chromedp.NewContext(browser)
	defer cancel()
	widthOf(t, tab, "file://"+filepath.ToSlash(filepath.Join(dir, searchURL))+"?q=dialBroker")
	found, err := chromedp.Run(tab, chromedp.Evaluate[string](`Array.from(document.querySelectorAll(".results a")).map(function (a) { return a.getAttribute("href"); }).join("\n")`))
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^code/07-grpc/platformservice/broker\.go\.html#L\d+$`).MatchString(found) {
		t.Errorf("dialBroker is not found in chapter 07, but\n%s", found)
	}
}

// playsOn presses Play, and waits until the position has moved, for a minute at most.
const playsOn = `new Promise(function (done) {
	var position = document.querySelector("input[type=range]"), begun = performance.now();
	document.querySelector("button[aria-label=Play]").click();
	(function look() {
		if (Number(position.value) > 0) return done(true);
		if (performance.now() - begun > 60000) return done(false);
		requestAnimationFrame(look);
	})();
})`
