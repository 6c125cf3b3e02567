package web

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strconv"
	"strings"

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
		header.Set("Content-Security-Policy", apidoc.Policy)
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Referrer-Policy", "no-referrer")
		header.Set("Cache-Control", "no-cache") // the next version has other files
		header.Set("ETag", tag)
		if HasTag(r, tag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
		header.Set("Content-Type", file.Type)
		header.Set("Content-Length", strconv.Itoa(len(file.Body)))
		_, _ = w.Write(file.Body) // the client's loss; net/http sends none of it after HEAD
		return nil
	}
}

// HasTag reports whether r says that its client has the file with this tag
// (RFC 9110, section 13.1.2). A proxy that compresses the file has weakened the tag.
func HasTag(r *http.Request, tag string) bool {
	for known := range strings.SplitSeq(strings.Join(r.Header.Values("If-None-Match"), ","), ",") {
		if known = strings.TrimSpace(known); known == "*" || strings.TrimPrefix(known, "W/") == tag {
			return true
		}
	}
	return false
}
