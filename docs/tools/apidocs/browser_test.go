package main

import (
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"

	"microcomm/docs/tools/internal/chromium/chromiumtest"
)

// TestPageInABrowser sends a request from its form, and looks at the page in both themes
// and on a telephone.
func TestPageInABrowser(t *testing.T) {
	url := servePage(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write(body)
	})
	tab, cancel := context.WithTimeout(chromiumtest.Start(t), 10*time.Minute)
	defer cancel()
	var mu sync.Mutex
	err := chromedp.Listen(tab, func(ev any) {
		if e, ok := ev.(*log.EventEntryAdded); ok && e.Entry.Level == log.EntryLevelError {
			mu.Lock()
			defer mu.Unlock()
			t.Errorf("the browser says %s %s", e.Entry.Text, e.Entry.URL)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	do(t, tab, listenToErrors(), chromedp.EmulateViewport(1280, 900), chromedp.Navigate(url+"/docs"),
		chromedp.SetValue("#createPlatform textarea", `{"name": "It's Docker"}`),
		chromedp.Click("#createPlatform button[type=submit]"), chromedp.WaitVisible("#createPlatform .result pre"))
	for selector, want := range map[string]string{
		"#createPlatform .result": `"name": "It's Docker"`,
		"#createPlatform .status": "201",
	} {
		if got := evaluate(t, tab, `document.querySelector("`+selector+`").textContent`); !strings.Contains(got, want) {
			t.Errorf("%s says %q, want %q", selector, got, want)
		}
	}
	do(t, tab, chromedp.Evaluate[chromedp.Void](`document.querySelectorAll("details").forEach(d => { d.open = true; })`))
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{360, 1280} {
			do(t, tab, chromedp.EmulateViewport(width, 900), inTheme(theme), chromedp.Evaluate[chromedp.Void](chromiumtest.Axe(t, "../../..")))
			found, err := chromedp.Run(tab, chromedp.Evaluate[string](runAxe, chromedp.EvalAwaitPromise))
			if err != nil {
				t.Fatal(err)
			}
			if found != "" {
				t.Errorf("axe, %s, %d pixels: %s", theme, width, found)
			}
			if wide := evaluate(t, tab, `String(document.documentElement.scrollWidth > innerWidth)`); wide != "false" {
				t.Errorf("it scrolls sideways on %d pixels", width)
			}
		}
	}
}

// runAxe returns what axe-core finds, as text.
const runAxe = `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]})
	.then(r => r.violations.map(v => v.id + ": " + v.nodes[0].html).join("\n"))`

func do(t *testing.T, tab context.Context, steps ...chromedp.Action[chromedp.Void]) {
	t.Helper()
	if err := chromedp.Do(tab, steps...); err != nil {
		t.Fatal(err)
	}
}

// listenToErrors has the browser report errors, such as a style that the policy forbids.
func listenToErrors() chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, log.Enable, cdp.Empty{})
		return err
	})
}

func inTheme(theme string) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, target *chromedp.Target) error {
		_, err := cdp.Call(ctx, target, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}})
		return err
	})
}

func evaluate(t *testing.T, tab context.Context, script string) string {
	t.Helper()
	got, err := chromedp.Run(tab, chromedp.Evaluate[string](script))
	if err != nil {
		t.Fatal(err)
	}
	return got
}
