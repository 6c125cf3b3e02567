// Package apidoc makes what a browser and a program read of an API from its OpenAPI
// documents: a page with a form for each operation, and the documents as JSON.
package apidoc

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
)

// API is one service's API.
type API struct {
	Document []byte // OpenAPI 3.1, as YAML
	Address  string // of the service, as its clients call it: http://localhost:5000
	// Base is what the page puts before the paths of its requests, and of the document as
	// JSON. With an empty one they go to where the page came from, and Address is no more
	// than a default.
	Base string
	// Only leaves out the paths that don't begin with it.
	Only string
}

// File is something to serve.
type File struct {
	Type string // for Content-Type
	Body []byte
}

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS []byte

//go:embed try.js
var tryJS []byte

// Policy is the Content-Security-Policy of the page: it runs the script beside it, and
// sends requests to where it came from.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Files returns what describes the APIs, by path: /docs, what it needs, and
// /openapi.json, one document for those with the same Base. The error says which
// document is not one.
func Files(title string, apis ...API) (map[string]File, error) {
	documents := make([]document, len(apis))
	byBase := map[string][]document{}
	for i, api := range apis {
		var err error
		if documents[i], err = read(api.Document, api.Only); err != nil {
			return nil, fmt.Errorf("API document %d: %w", i+1, err)
		}
		byBase[api.Base] = append(byBase[api.Base], documents[i])
	}
	var page bytes.Buffer
	if err := template.Must(template.New("page").Parse(pageHTML)).Execute(&page, newPage(title, apis, documents)); err != nil {
		return nil, fmt.Errorf("page of the APIs: %w", err)
	}
	files := map[string]File{
		"/docs":          {"text/html; charset=utf-8", page.Bytes()},
		"/docs/page.css": {"text/css; charset=utf-8", pageCSS},
		"/docs/try.js":   {"text/javascript; charset=utf-8", tryJS},
	}
	for base, documents := range byBase {
		whole, err := merge(title, documents)
		if err != nil {
			return nil, err
		}
		var text bytes.Buffer
		_ = json.Indent(&text, whole.json(), "", "  ") // it is JSON
		files[base+"/openapi.json"] = File{"application/json", append(text.Bytes(), '\n')}
	}
	return files, nil
}
