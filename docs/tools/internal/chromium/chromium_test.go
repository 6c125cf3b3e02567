package chromium

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"microcomm/docs/tools/internal/process"
)

func TestChromiumIsFoundAndShowsAPage(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(`<p>before</p><script>document.querySelector("p").textContent = "1 + 1 = " + (1 + 1)</script>`))
	}))
	defer page.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // it may have to be installed
	defer cancel()
	path, err := Ensure(ctx, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	profile, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	defer process.RemoveAll(profile) // Chromium's children may still write
	args := append([]string{path}, Flags(profile)...)
	dom, err := process.Output(ctx, process.Command{Args: append(args, "--dump-dom", page.URL)})
	if err != nil || !strings.Contains(dom, "1 + 1 = 2") {
		t.Fatalf("the page after its script: %q (error: %v)", dom, err)
	}
}

func TestANamedChromiumThatIsNoneIsAnError(t *testing.T) {
	t.Setenv("CHROMIUM", "/no/such/browser")
	if path, err := Ensure(t.Context(), t.Output()); err == nil || !strings.Contains(err.Error(), "CHROMIUM") {
		t.Fatalf("%q, error %v: want an error that names CHROMIUM", path, err)
	}
}
