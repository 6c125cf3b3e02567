package main

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/yuin/goldmark/ast"

	"microcomm/docs/tools/internal/chromium"
	"microcomm/docs/tools/internal/process"
)

// pictureDir is where the rendered pictures are in the checkout. They are committed, so
// that making the book needs no browser.
const pictureDir = "docs/pictures"

// mermaidVersion is the npm package that draws the pictures. It is not part of the site.
const mermaidVersion = "mermaid@11.17.2"

var themes = []string{"light", "dark"}

// pictureName is the file of a picture in a theme: it changes with the source.
func pictureName(source, theme string) string {
	return fmt.Sprintf("%x-%s.svg", sha256.Sum256([]byte(source)), theme)[64-12:]
}

// pictureSources are the sources of all pictures that the pages show, by the name of
// their file in the light theme.
func (b *book) pictureSources() map[string]string {
	sources := map[string]string{}
	for _, d := range b.lessons {
		_ = ast.Walk(d.tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
			if fence, ok := n.(*ast.FencedCodeBlock); ok && entering && string(fence.Language(d.text)) == "mermaid" {
				source := strings.TrimRight(string(fence.Lines().Value(d.text)), "\n")
				sources[pictureName(source, "light")] = source
			}
			return ast.WalkContinue, nil
		})
	}
	return sources
}

// stalePictures are the sources without a file, by name, and the files without a source.
func (b *book) stalePictures() (missing map[string]string, left []string, err error) {
	missing = map[string]string{}
	known := map[string]bool{}
	for _, source := range b.pictureSources() {
		for _, theme := range themes {
			name := pictureName(source, theme)
			known[name] = true
			if _, err := os.Stat(b.path(pictureDir + "/" + name)); err != nil {
				missing[strings.TrimSuffix(pictureName(source, ""), "-.svg")] = source
			}
		}
	}
	files, err := os.ReadDir(b.path(pictureDir))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, nil, err
	}
	for _, f := range files {
		if !known[f.Name()] {
			left = append(left, f.Name())
		}
	}
	return missing, left, nil
}

// renderPictures draws the pictures that are missing, and removes those whose source
// is gone.
func (b *book) renderPictures(ctx context.Context, progress io.Writer) error {
	missing, left, err := b.stalePictures()
	if err != nil {
		return err
	}
	for _, name := range left {
		if err := os.Remove(b.path(pictureDir + "/" + name)); err != nil {
			return err
		}
	}
	if len(missing) > 0 {
		if err := os.MkdirAll(b.path(pictureDir), 0o755); err != nil {
			return err
		}
		err := draw(ctx, missing, progress, func(name, svg string) error {
			return os.WriteFile(b.path(pictureDir+"/"+name+".svg"), []byte(svg+"\n"), 0o644)
		})
		if err != nil {
			return fmt.Errorf("draw the pictures: %w", err)
		}
	}
	fmt.Fprintf(progress, "%d pictures drawn, %d files removed in %s\n", len(missing), len(left), pictureDir)
	return nil
}

//go:embed render/pictures.html
var picturesPage []byte

// draw draws sources in both themes in a headless Chromium, and saves each.
func draw(ctx context.Context, sources map[string]string, progress io.Writer, save func(name, svg string) error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute) // a Chromium may have to be installed
	defer cancel()
	browser, err := chromium.Ensure(ctx, progress)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "book-pictures")
	if err != nil {
		return err
	}
	defer process.RemoveAll(temp)
	script, err := mermaidScript(ctx, temp)
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	url, stop, err := serveHandler(drawing(sources, script, save, done))
	if err != nil {
		return err
	}
	defer stop()
	args := append([]string{browser}, chromium.Flags(filepath.Join(temp, "profile"))...)
	shown, err := process.Start(process.Command{Args: append(args, "--remote-debugging-port=0", url)})
	if err != nil {
		return err
	}
	defer shown.Kill()
	select {
	case err := <-done:
		return err
	case <-shown.Done():
		return fmt.Errorf("chromium: %s", shown.Ending())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// drawing is what the page that draws asks for and sends.
func drawing(sources map[string]string, script []byte, save func(name, svg string) error, done chan<- error) http.Handler {
	type item struct {
		Name   string `json:"name"`
		Source string `json:"source"`
	}
	items := []item{}
	for name, source := range sources {
		items = append(items, item{name, source})
	}
	finish := func(err error) {
		select {
		case done <- err:
		default:
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(picturesPage) })
	mux.HandleFunc("GET /mermaid.min.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write(script)
	})
	mux.HandleFunc("GET /sources", func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(items) })
	mux.HandleFunc("POST /picture/{name}", func(w http.ResponseWriter, r *http.Request) {
		svg, err := io.ReadAll(r.Body)
		if err == nil {
			err = save(r.PathValue("name"), string(svg))
		}
		if err != nil {
			finish(err)
		}
	})
	mux.HandleFunc("POST /done", func(_ http.ResponseWriter, r *http.Request) {
		problem, err := io.ReadAll(r.Body)
		if err == nil && len(problem) > 0 {
			err = errors.New(string(problem))
		}
		finish(err)
	})
	return mux
}

// serveHandler serves h on a free port of this machine, until stop is called.
func serveHandler(h http.Handler) (url string, stop func(), err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(listener) }()
	return "http://" + listener.Addr().String() + "/", func() { _ = server.Close(); <-served }, nil
}

// mermaidScript has npm fetch mermaid into dir, and returns its script.
func mermaidScript(ctx context.Context, dir string) ([]byte, error) {
	if _, err := process.Output(ctx, process.Command{Args: []string{"npm", "pack", "--silent", mermaidVersion}, Dir: dir}); err != nil {
		return nil, fmt.Errorf("npm, which fetches %s: %w", mermaidVersion, err)
	}
	packed, err := os.Open(filepath.Join(dir, strings.ReplaceAll(mermaidVersion, "@", "-")+".tgz"))
	if err != nil {
		return nil, err
	}
	defer packed.Close()
	unzipped, err := gzip.NewReader(packed)
	if err != nil {
		return nil, err
	}
	for files := tar.NewReader(unzipped); ; {
		header, err := files.Next()
		if err != nil {
			return nil, fmt.Errorf("%s: no mermaid.min.js: %w", mermaidVersion, err)
		}
		if header.Name == "package/dist/mermaid.min.js" {
			return io.ReadAll(files)
		}
	}
}
