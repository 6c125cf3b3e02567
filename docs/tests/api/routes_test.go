package api

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"net/http"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// routes expects every route of the service in the document. A route is a path in the
// service's code that it answers with anything but "there is nothing at this path".
func (h *holding) routes(t *testing.T, stage string) {
	t.Helper()
	for _, path := range pathsInCode(t, stage, h.name) {
		got, err := send(t.Context(), http.MethodOptions, h.url+path, nil, "")
		if err != nil {
			t.Fatal(err)
		}
		if got.status == http.StatusNotFound && strings.Contains(string(got.body), "there is nothing at this path") {
			continue
		}
		found := false
		for _, op := range h.operations() {
			_, err := h.find(request{method: op.method, path: path})
			found = found || err == nil
		}
		if !found {
			h.errs = append(h.errs, fmt.Errorf("the document lacks %s, which the service has", path))
		}
	}
}

// placeholder is what stands for a value in a path.
var placeholder = regexp.MustCompile(`\{[^}]*\}|%[a-z]`)

// pathsInCode returns every text in the code of a service that looks like a path, with
// 1 for its parameters.
func pathsInCode(t *testing.T, stage, service string) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{service + "/*.go", "internal/*/*.go", "apidoc/*.go"} {
		files, err := filepath.Glob(filepath.Join(root, stage, filepath.FromSlash(pattern)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
			if err != nil {
				t.Fatal(err)
			}
			ast.Inspect(tree, func(node ast.Node) bool {
				literal, ok := node.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				text, err := strconv.Unquote(literal.Value)
				if err == nil && looksLikePath.MatchString(text) {
					paths = append(paths, placeholder.ReplaceAllString(text, "1"))
				}
				return true
			})
		}
	}
	if len(paths) == 0 {
		t.Fatal("no paths in the code")
	}
	return paths
}

var looksLikePath = regexp.MustCompile(`^/[a-z][\w/.{}%-]*$`)
