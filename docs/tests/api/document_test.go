package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"sigs.k8s.io/yaml"
)

// document is an OpenAPI document that is held against a service.
type document struct {
	spec   *openapi3.T
	strict routers.Router // the document without its servers, in which no field is allowed that it doesn't name
	seen   map[string]bool
}

// operation is one of a document.
type operation struct {
	method, path string
	*openapi3.Operation
	item *openapi3.PathItem
}

// readDocument reads the document of a service, changed by the given replacements,
// each of a text that it must contain.
func readDocument(stage, service string, replace ...string) (*document, error) {
	text, err := os.ReadFile(filepath.Join(root, stage, service, "openapi.yaml"))
	if err != nil {
		return nil, err
	}
	for pair := range slices.Chunk(replace, 2) {
		if !bytes.Contains(text, []byte(pair[0])) {
			return nil, fmt.Errorf("the document doesn't contain %q", pair[0])
		}
		text = bytes.ReplaceAll(text, []byte(pair[0]), []byte(pair[1]))
	}
	d := &document{seen: map[string]bool{}}
	if d.spec, err = load(text, func(any) {}, openapi3.EnableExamplesValidation()); err != nil {
		return nil, err
	}
	strict, err := load(text, forbidUnknown, openapi3.DisableExamplesValidation())
	if err != nil {
		return nil, err
	}
	strict.Servers = nil // whatever the address
	d.strict, err = gorillamux.NewRouter(strict)
	return d, err
}

// load reads a document, which change may change, and checks that it is one.
func load(text []byte, change func(any), options ...openapi3.ValidationOption) (*openapi3.T, error) {
	var tree any
	if err := yaml.UnmarshalStrict(text, &tree); err != nil {
		return nil, err
	}
	change(tree)
	text, err := json.Marshal(tree)
	if err != nil {
		return nil, err
	}
	spec, err := openapi3.NewLoader().LoadFromData(text)
	if err != nil {
		return nil, err
	}
	return spec, spec.Validate(context.Background(), options...)
}

// forbidUnknown sets unevaluatedProperties to false in each schema with properties.
func forbidUnknown(node any) {
	switch node := node.(type) {
	case map[string]any:
		if _, found := node["properties"].(map[string]any); found && node["type"] == "object" {
			node["unevaluatedProperties"] = false
		}
		for _, child := range node {
			forbidUnknown(child)
		}
	case []any:
		for _, child := range node {
			forbidUnknown(child)
		}
	}
}

// operations are those of the document, in its order as far as it matters: lists
// and what creates something come before what reads it.
func (d *document) operations() []operation {
	var found []operation
	for path, item := range d.spec.Paths.Map() {
		for method, op := range item.Operations() {
			found = append(found, operation{method, path, op, item})
		}
	}
	slices.SortFunc(found, func(a, b operation) int {
		if a.path != b.path {
			return strings.Compare(a.path, b.path)
		}
		return -strings.Compare(a.method, b.method) // POST before GET
	})
	return found
}

// statuses are those that the operation documents.
func (o operation) statuses() []string { return slices.Sorted(maps.Keys(o.Responses.Map())) }

// pathExample is the operation's path with the examples of its parameters.
func (o operation) pathExample(instead string) string {
	path := o.path
	for _, list := range []openapi3.Parameters{o.item.Parameters, o.Parameters} {
		for _, p := range list {
			if p.Value.In == "path" {
				value := instead
				if value == "" {
					value = fmt.Sprint(p.Value.Example)
				}
				path = strings.ReplaceAll(path, "{"+p.Value.Name+"}", value)
			}
		}
	}
	return path
}

// takes reports whether the operation has this parameter.
func (o operation) takes(name string) bool {
	return o.Parameters.GetByInAndName("query", name) != nil || o.Parameters.GetByInAndName("header", name) != nil
}

// bodyExample is the example of the operation's request body, or nil.
func (o operation) bodyExample() map[string]any {
	if o.RequestBody == nil {
		return nil
	}
	example, _ := o.RequestBody.Value.Content.Get("application/json").Example.(map[string]any)
	return example
}

// request is what was sent, to be compared with the document.
type request struct {
	method, path string
	header       http.Header
	body         string
}

// check returns an error when the document doesn't describe the response.
func (d *document) check(sent request, got response) error {
	input, err := d.find(sent)
	if err != nil {
		return err
	}
	route, options := input.Route, input.Options
	d.seen[fmt.Sprint(route.Operation.OperationID, " ", got.status)] = true
	result := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: got.status, Header: got.header, Options: options}
	result.SetBodyBytes(got.body)
	if err := openapi3filter.ValidateResponse(context.Background(), result); err != nil {
		return fmt.Errorf("%s %s: %d %.300s: %w", sent.method, sent.path, got.status, got.body, err)
	}
	documented := map[string]bool{}
	for name := range route.Operation.Responses.Status(got.status).Value.Headers {
		documented[http.CanonicalHeaderKey(name)] = true
	}
	for name := range got.header {
		if !usual[name] && !documented[name] {
			return fmt.Errorf("%s %s: %d: the document doesn't name the header %s", sent.method, sent.path, got.status, name)
		}
	}
	return nil
}

// usual are headers that need no mention.
var usual = map[string]bool{
	"Content-Type": true, "Content-Length": true, "Date": true, "Connection": true, "Accept-Encoding": true, "Vary": true,
	"Cache-Control": true, "Content-Security-Policy": true, "X-Content-Type-Options": true, "Referrer-Policy": true,
}

// allows returns an error when the document forbids a request.
func (d *document) allows(sent request) error {
	input, err := d.find(sent)
	if err != nil {
		return err
	}
	return openapi3filter.ValidateRequest(context.Background(), input)
}

// find finds the operation that a request is for.
func (d *document) find(sent request) (*openapi3filter.RequestValidationInput, error) {
	r, err := http.NewRequest(sent.method, "http://service"+sent.path, strings.NewReader(sent.body))
	if err != nil {
		return nil, err
	}
	if sent.header != nil {
		r.Header = sent.header.Clone()
	}
	route, variables, err := d.strict.FindRoute(r)
	if err != nil {
		return nil, fmt.Errorf("the document has no %s %s: %w", sent.method, sent.path, err)
	}
	return &openapi3filter.RequestValidationInput{
		Request: r, PathParams: variables, QueryParams: r.URL.Query(), Route: route,
		Options: &openapi3filter.Options{IncludeResponseStatus: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, SkipSettingDefaults: true},
	}, nil
}

// unseen are the documented statuses that no response had.
func (d *document) unseen() []string {
	var missing []string
	for _, op := range d.operations() {
		for _, status := range op.statuses() {
			if key := op.OperationID + " " + status; !d.seen[key] {
				missing = append(missing, key)
			}
		}
	}
	return missing
}

func readResponse(got *http.Response) (response, error) {
	defer got.Body.Close()
	body, err := io.ReadAll(got.Body)
	return response{got.StatusCode, got.Header, body}, err
}

func readRaw(conn net.Conn) (response, error) {
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return response{}, err
	}
	return readResponse(got)
}
