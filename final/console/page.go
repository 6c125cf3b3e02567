package console

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/web"
)

// pages are the files of the page: what a browser needs, and nothing from elsewhere.
//
//go:embed page
var pages embed.FS

// contentSecurityPolicy lets the page load its own files and read its own origin,
// and nothing else: whatever a platform is named, no script of another runs.
const contentSecurityPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// file is a file of the page.
type file struct {
	contentType string
	etag        string
	content     []byte
}

// loadPage returns the files by their path, as the router has it: index.html is the
// empty one, and page/console/style.css is /console/style.css. So any other server of
// the directory shows the page, too, and it plays recordings.
func loadPage() (map[string]file, error) {
	types := map[string]string{".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
		".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".ndjson": "application/x-ndjson"}
	files := map[string]file{}
	err := fs.WalkDir(pages, "page", func(name string, entry fs.DirEntry, err error) error {
		contentType := types[path.Ext(name)]
		if err != nil || entry.IsDir() || contentType == "" {
			return err
		}
		content, err := pages.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		at := strings.TrimSuffix(strings.TrimPrefix(name, "page"), "/index.html")
		files[at] = file{contentType, `"` + hex.EncodeToString(sum[:8]) + `"`, content}
		return nil
	})
	return files, err
}

// fileHandler serves a file of the page. A browser asks every time, and gets the file
// only when it has changed.
func (s *service) fileHandler(w http.ResponseWriter, r *http.Request) error {
	found, ok := s.files[r.URL.Path]
	if !ok {
		return web.NewProblem(http.StatusNotFound, "there is nothing at this path")
	}
	if r.URL.Path == "" {
		telemetry.SetRoute(r.Context(), "/")
	}
	header := w.Header()
	header.Set("Content-Security-Policy", contentSecurityPolicy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cache-Control", "no-cache")
	header.Set("ETag", found.etag)
	if web.HasTag(r, found.etag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	header.Set("Content-Type", found.contentType)
	if r.Method != http.MethodHead {
		_, _ = w.Write(found.content) // the client's loss
	}
	return nil
}
