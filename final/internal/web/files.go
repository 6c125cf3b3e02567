package web

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"net/http"
	"time"

	"microcomm/final/apidoc"
)

// HandleFiles registers files, by path, that anyone may read.
func (rt *Router) HandleFiles(files map[string]apidoc.File) {
	for path, file := range files {
		rt.Handle(path, ByMethod{http.MethodGet: Public(serveFile(file))})
	}
}

// serveFile returns the handler for a file that does not change while the process runs.
func serveFile(file apidoc.File) handlerFunc {
	tag := fmt.Sprintf(`"%x"`, sha256.Sum256(file.Body))
	return func(w http.ResponseWriter, r *http.Request) error {
		header := w.Header()
		header.Set("Content-Type", file.Type)
		header.Set("Content-Security-Policy", apidoc.Policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache") // the next version has other files
		header.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(file.Body))
		return nil
	}
}
