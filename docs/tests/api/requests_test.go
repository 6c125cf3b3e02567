package api

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestRequestFilesAndDocumentsNameTheSameOperations: an operation has one name, in the
// document and in the request files of editors, and each file uses every operation.
func TestRequestFilesAndDocumentsNameTheSameOperations(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(root, "docs", "requests", "*.http"))
	if err != nil || len(files) == 0 {
		t.Fatal("no request files", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			stage := stageOf(t, file)
			requests := readRequests(t, file)
			var operations []operationOf
			for _, service := range services(stage) {
				d, err := readDocument(stage, service)
				if err != nil {
					t.Fatal(err)
				}
				for _, op := range d.operations() {
					// What a gateway routes is not all that a service has.
					if filepath.Base(file) != "final.http" || strings.HasPrefix(op.path, "/api/") {
						operations = append(operations, operationOf{op, service})
					}
				}
			}
			for _, op := range operations {
				first := slices.IndexFunc(requests, op.isFor)
				if first < 0 {
					t.Errorf("no request for %s: %s %s", op.OperationID, op.method, op.path)
				} else if requests[first].name != op.OperationID {
					t.Errorf("the first request for %s is called %s", op.OperationID, requests[first].name)
				}
			}
			for _, r := range requests {
				known := slices.ContainsFunc(operations, func(op operationOf) bool { return op.isFor(r) })
				refused := r.status == "404" || r.status == "405"
				if !known && !refused && !slices.Contains([]string{"openAPI", "docs"}, r.name) { // of the gateway
					t.Errorf("%s is for no operation: %s %s", r.name, r.method, r.path)
				}
			}
		})
	}
}

// stageOf is the stage of a request file: 02.http, final-broker.http.
func stageOf(t *testing.T, file string) string {
	t.Helper()
	name, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".http"), "-")
	for _, stage := range stages(t) {
		if number, _, _ := strings.Cut(stage, "-"); number == name {
			return stage
		}
	}
	t.Fatalf("%s is of no stage", file)
	return ""
}

// fileRequest is a request of a file.
type fileRequest struct{ name, status, method, service, path string }

// addresses are the services behind the variables of request files.
var addresses = map[string]string{"platforms": "platformservice", "commands": "commandsservice"}

var (
	nameLine    = regexp.MustCompile(`(?m)^# @name (\w+)$`)
	statusLine  = regexp.MustCompile(`(?m)^# expect (\d+)$`)
	requestLine = regexp.MustCompile(`(?m)^([A-Z]+) \{\{(\w+)\}\}([^?\s]*)`)
)

func readRequests(t *testing.T, file string) []fileRequest {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var requests []fileRequest
	for _, block := range strings.Split(string(text), "\n###")[1:] {
		name, status, line := nameLine.FindStringSubmatch(block), statusLine.FindStringSubmatch(block), requestLine.FindStringSubmatch(block)
		if name == nil || status == nil || line == nil {
			t.Fatalf("%s: no request in %q", file, block)
		}
		requests = append(requests, fileRequest{name[1], status[1], line[1], addresses[line[2]], line[3]})
	}
	return requests
}

// operationOf is an operation of a service.
type operationOf struct {
	operation
	service string
}

// isFor reports whether a request, at the service's address or at a gateway, is for the
// operation.
func (o operationOf) isFor(r fileRequest) bool {
	pattern := "^" + regexp.MustCompile(`\\{\w+\\}`).ReplaceAllString(regexp.QuoteMeta(o.path), `[^/]+`) + "$"
	return o.method == r.method && (r.service == "" || r.service == o.service) && regexp.MustCompile(pattern).MatchString(r.path)
}
