// Package chromiumtest gives tests a headless Chromium.
package chromiumtest

import (
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"microcomm/docs/tools/internal/chromium"
)

// Start starts a Chromium with one tab, for the length of the test, and installs one
// first where it can (see chromium.Ensure). It fails the test when none starts.
func Start(t *testing.T) context.Context {
	t.Helper()
	found, err := chromium.Ensure(t.Context(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	// No t.TempDir for its data: Chromium's children may write there after its end, and chromedp
	// knows how to remove a folder of its own then.
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(found), chromedp.WSURLReadTimeout(3*time.Minute))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to run as root with it
	}
	allocated, stop := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(stop)
	tab, cancel := chromedp.NewContext(allocated)
	t.Cleanup(cancel)
	if err := chromedp.Do(tab); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return tab
}

// Axe is the script of axe-core, which the console's tests have. root is the folder of
// the repository.
func Axe(t *testing.T, root string) string {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "final", "console", "testdata", "axe", "axe.min.js.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unpacked, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}
