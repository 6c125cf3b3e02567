// Package api holds the descriptions of the APIs, the OpenAPI documents of each stage and
// the AsyncAPI document, against the running services.
package api

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	"microcomm/final"
	"microcomm/final/apidoc"
)

// TestDocuments provokes every status that a document has, in every stage, and compares
// what each service then sends.
func TestDocuments(t *testing.T) {
	t.Parallel()
	for _, stage := range stages(t) {
		t.Run(stage, func(t *testing.T) {
			t.Parallel()
			programs := build(t, stage)
			for _, name := range services(stage) {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					d, err := readDocument(stage, name)
					if err != nil {
						t.Fatal(err)
					}
					for _, err := range hold(t, d, stage, name, programs) {
						t.Error(err)
					}
				})
			}
		})
	}
}

// TestGatewayDocument: what the gateway serves for both services is a document, too.
func TestGatewayDocument(t *testing.T) {
	files, err := apidoc.Files("microcomm", final.GatewayAPIs()...)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := load(files["/openapi.json"].Body, func(any) {}, openapi3.EnableExamplesValidation())
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api/platforms", "/api/c/platforms/{platformId}/commands"} {
		if spec.Paths.Value(path) == nil {
			t.Errorf("it lacks %s", path)
		}
	}
	if spec.Paths.Value("/metrics") != nil {
		t.Error("it has what the gateway doesn't route")
	}
}

// TestItBites changes a document, and expects TestDocuments to notice.
func TestItBites(t *testing.T) {
	t.Parallel()
	programs := map[string]string{"01-rest": build(t, "01-rest"), "03-k8s": build(t, "03-k8s"), "final": build(t, "final")}
	for _, row := range []struct {
		what, stage, service, from, to, notice string
	}{
		{"a field that the service calls otherwise", "01-rest", "platformservice", "publisher", "vendor", "missing property 'vendor'"},
		{"a field that the document doesn't name", "01-rest", "platformservice", `        cost: {$ref: "#/components/schemas/Text"}`, "", "at '/cost': false schema"},
		{"a status that the service doesn't send", "01-rest", "platformservice", `"201":`, `"200":`, "documented, and never sent: createPlatform 200"},
		{"a route that the service doesn't have", "01-rest", "platformservice", "/api/platforms/{id}:", "/api/platforms/by-id/{id}:", "documented, and never sent: getPlatform 200"},
		{"a route that the document doesn't have", "03-k8s", "platformservice", "  /readyz:", "  /api/readyz:", "the document lacks /readyz"},
		{"a bound that the service doesn't have", "01-rest", "platformservice", "maxLength: 500", "maxLength: 499", ", want 400"},
		{"a header that the service doesn't send", "01-rest", "platformservice", "            Location:", "            Content-Location:", `response header "Content-Location" missing`},
		{"a scope that isn't enough", "final", "platformservice", "{bearer: [platforms:write]}", "{bearer: [platforms:read]}", "the document says that it may pass"},
	} {
		t.Run(row.what, func(t *testing.T) {
			t.Parallel()
			d, err := readDocument(row.stage, row.service, row.from, row.to)
			if err != nil {
				t.Fatal(err)
			}
			errs := hold(t, d, row.stage, row.service, programs[row.stage])
			if !slices.ContainsFunc(errs, func(err error) bool { return strings.Contains(err.Error(), row.notice) }) {
				t.Errorf("not noticed; the errors are %v", errs)
			}
			for _, err := range errs {
				t.Log(err)
			}
		})
	}
}

// holding is a service that is held against a document.
type holding struct {
	*document
	service
	errs []error
}

// hold starts the service and returns what differs from the document.
func hold(t *testing.T, d *document, stage, name, programs string) []error {
	t.Helper()
	h := &holding{document: d, service: service{name: name, database: filepath.Join(t.TempDir(), "data.db")}}
	var env []string
	if name == "commandsservice" && has(stage, "platformservice/grpc_server.go") { // the first backfill has to end
		target := freeAddresses(t, 1)[0]
		env = []string{"PLATFORMS_GRPC_TARGET=" + target}
		platforms := service{name: "platformservice", database: filepath.Join(t.TempDir(), "platforms.db")}
		platforms.start(t, programs, "PLATFORMS_GRPC_ADDR="+target)
	}
	ready := "/api/platforms"
	if name == "commandsservice" {
		ready = "/api/c/platforms"
	}
	// A service that waits for its database is starting. The others create their tables
	// before they listen.
	if has(stage, name+"/setup.go") {
		unlock := h.lock(t)
		h.start(t, programs, env...)
		h.waitFor(t, ready, http.StatusServiceUnavailable)
		h.each(t, http.StatusServiceUnavailable)
		unlock()
	} else {
		h.start(t, programs, env...)
	}
	h.waitFor(t, ready, http.StatusOK)
	if h.spec.Paths.Value("/readyz") != nil {
		h.waitFor(t, "/readyz", http.StatusOK)
	}
	slow := h.slowBodies(t)
	h.each(t, 200, 201)
	for _, status := range []int{304, 400, 404, 409, 413, 415, 422} {
		h.each(t, status)
	}
	h.bounds(t)
	h.heads(t)
	h.otherMethods(t)
	h.routes(t, stage)
	slow()
	if h.spec.Components.SecuritySchemes != nil {
		h.guarded(t, programs, env)
		h.keyless(t, programs, env)
		h.limited(t, programs, env)
	}
	h.breakDatabase(t)
	h.each(t, http.StatusInternalServerError)
	h.each(t, http.StatusServiceUnavailable)
	for _, missing := range h.unseen() {
		h.errs = append(h.errs, fmt.Errorf("documented, and never sent: %s", missing))
	}
	return h.errs
}

// each provokes these statuses of every operation that has them.
func (h *holding) each(t *testing.T, statuses ...int) {
	t.Helper()
	for _, op := range h.operations() {
		for _, status := range statuses {
			switch {
			case op.Responses.Status(status) == nil || h.seen[op.OperationID+" "+strconv.Itoa(status)]:
			case status == http.StatusServiceUnavailable && op.path == "/metrics": // only keyless provokes it
			case status == http.StatusConflict:
				h.conflict(t, op)
			default:
				for _, r := range op.provoke(status) {
					h.try(t, r, status)
				}
			}
		}
	}
}

// ask sends a request, and again while it gets a 503 instead of that status: a service that
// stands still for a second finds that its database has not responded in time.
func (h *holding) ask(t *testing.T, r request, status int) response {
	t.Helper()
	for late := time.Now().Add(patience); ; {
		got, err := send(t.Context(), r.method, h.url+r.path, r.header, r.body)
		if err != nil {
			t.Fatal(err)
		}
		if got.status == status || got.status != http.StatusServiceUnavailable || time.Now().After(late) {
			return got
		}
	}
}

// try sends a request, and compares the response.
func (h *holding) try(t *testing.T, r request, status int) {
	t.Helper()
	got := h.ask(t, r, status)
	if got.status != status {
		h.errs = append(h.errs, fmt.Errorf("%s %s %s: %d %s, want %d", r.method, r.path, shortened(r.body), got.status, got.body, status))
		return
	}
	if err := h.check(r, got); err != nil {
		h.errs = append(h.errs, err)
	}
	switch err := h.allows(r); {
	case status == 400 || status == 415:
		// Not everything that is refused can be said in a schema; what is says so here.
		if err == nil && !strings.Contains(r.path, "after=") {
			h.errs = append(h.errs, fmt.Errorf("%s %s %s: the service refuses what the document allows", r.method, r.path, shortened(r.body)))
		}
	case status != 413 && err != nil:
		h.errs = append(h.errs, fmt.Errorf("%s %s %s: the document forbids it, and the service doesn't: %w", r.method, r.path, shortened(r.body), err))
	}
}

func shortened(text string) string { return fmt.Sprintf("%.80s", text) }

// provoke returns the requests whose response has that status, those after the first
// in the state that the first leaves.
func (o operation) provoke(status int) []request {
	r := request{o.method, o.pathExample(""), nil, ""}
	body := o.bodyExample()
	if body != nil {
		r = r.with("Content-Type", "application/json").withBody(body)
	}
	switch {
	case status == 200 && o.takes("limit"):
		page, next := r, r
		page.path, next.path = r.path+"?limit=1", r.path+"?limit=1000&after=0"
		return []request{r, page, next}
	case status == 200 && body != nil && !o.RequestBody.Value.Required:
		return []request{r, {o.method, r.path, nil, ""}}
	case status == 201 && o.takes("Idempotency-Key"):
		keyed := r.with("Idempotency-Key", "first "+o.OperationID)
		return []request{r, keyed, keyed}
	case status == 304:
		return []request{r.with("If-None-Match", "*")}
	case status == 422:
		body = maps.Clone(body)
		for name := range body {
			body[name] = fmt.Sprint(body[name], " again")
		}
		return []request{r.with("Idempotency-Key", "first "+o.OperationID).withBody(body)}
	case status == 400:
		return o.provokeInvalid(r)
	case status == 404:
		r.path = o.pathExample("4711")
	case status == 413:
		r.body += strings.Repeat(" ", 1<<20)
	case status == 415:
		r = r.with("Content-Type", "text/plain")
	}
	return []request{r}
}

// provokeInvalid returns variants of r that are a 400.
func (o operation) provokeInvalid(r request) []request {
	var all []request
	if path := o.pathExample("one"); path != o.path && path != r.path {
		other := r
		other.path = path
		all = append(all, other)
	}
	if o.takes("limit") {
		for _, query := range []string{"limit=0", "limit=1001", "limit=ten", "limit=1&after=-1", "after=1"} {
			other := r
			other.path += "?" + query
			all = append(all, other)
		}
	}
	if r.body != "" {
		other := r
		other.body = "{"
		all = append(all, other)
	}
	if o.takes("Idempotency-Key") {
		all = append(all, r.with("Idempotency-Key", strings.Repeat("k", 256)))
	}
	return all
}

func (r request) with(name, value string) request {
	r.header = r.header.Clone()
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set(name, value)
	return r
}

func (r request) withBody(body any) request {
	text, _ := json.Marshal(body) // an example, which was JSON
	r.body = string(text)
	return r
}

// bounds sends each field of each body at its bounds and beyond them.
func (h *holding) bounds(t *testing.T) {
	t.Helper()
	for _, op := range h.operations() {
		body := op.bodyExample()
		if body == nil {
			continue
		}
		created := 201
		if op.Responses.Status(created) == nil {
			created = 200
		}
		for _, r := range op.provoke(created)[:1] {
			schema := op.RequestBody.Value.Content.Get("application/json").Schema.Value
			for name, property := range schema.Properties {
				for value, status := range variants(property.Value.MaxLength, property.Value.Max, created) {
					changed := maps.Clone(body)
					if changed[name] = value; value == absent {
						delete(changed, name)
					}
					h.try(t, r.withBody(changed), status)
				}
			}
		}
	}
}

// absent stands for a field that is missing.
const absent = "absent"

// variants are values of a field, and the status of a request with them.
func variants(maxLength *uint64, highest *float64, created int) map[any]int {
	values := map[any]int{absent: 400, true: 400}
	if maxLength != nil {
		values[" "] = 400
		values[strings.Repeat("ü", int(*maxLength))] = created
		values[strings.Repeat("ü", int(*maxLength)+1)] = 400
	}
	if highest != nil {
		values[0] = 400
		values[*highest] = created
		values[*highest+1] = 400
	}
	return values
}

// slowBodies sends bodies that stop arriving, in the background. The function that it
// returns waits for the responses.
func (h *holding) slowBodies(t *testing.T) (wait func()) {
	t.Helper()
	type result struct {
		request
		response
		error
	}
	results := make(chan result, 10)
	n := 0
	for _, op := range h.operations() {
		if op.Responses.Status(http.StatusRequestTimeout) == nil {
			continue
		}
		n++
		go func() {
			r := op.provoke(http.StatusRequestTimeout)[0]
			got, err := slowly(t.Context(), h.url+r.path)
			results <- result{r, got, err}
		}()
	}
	return func() {
		for range n {
			got := <-results
			if got.error != nil {
				t.Fatal(got.error)
			}
			if err := h.check(got.request, got.response); err != nil {
				h.errs = append(h.errs, err)
			}
		}
	}
}

// conflict sends two requests with one Idempotency-Key while the database is locked. The
// first waits for the lock until it gets a 503: when the second comes later, again.
func (h *holding) conflict(t *testing.T, op operation) {
	t.Helper()
	unlock := h.lock(t)
	defer unlock()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	r := op.provoke(http.StatusCreated)[0].with("Idempotency-Key", "both "+op.OperationID)
	responses := make(chan response, 2)
	both := func() (first response) {
		for range 2 {
			go func() {
				got, err := send(ctx, r.method, h.url+r.path, r.header, r.body)
				if err != nil {
					t.Error(err)
				}
				responses <- got
			}()
		}
		return <-responses // of the one that doesn't wait for the database
	}
	got := both()
	for late := time.Now().Add(patience); got.status == http.StatusServiceUnavailable && time.Now().Before(late); got = both() {
		<-responses
	}
	if got.status != http.StatusConflict {
		h.errs = append(h.errs, fmt.Errorf("%s twice at once: %d %s", op.OperationID, got.status, got.body))
	} else if err := h.check(r, got); err != nil {
		h.errs = append(h.errs, err)
	}
	unlock()
	if got := <-responses; h.check(r, got) != nil {
		h.errs = append(h.errs, fmt.Errorf("%s after a 409: %d %s", op.OperationID, got.status, got.body))
	}
}

// heads compares HEAD with GET. The document doesn't name it, and kin-openapi doesn't
// look at it.
func (h *holding) heads(t *testing.T) {
	t.Helper()
	for _, op := range h.operations() {
		if op.method != http.MethodGet {
			continue
		}
		path := op.pathExample("")
		get := h.ask(t, request{method: http.MethodGet, path: path}, http.StatusOK)
		head := h.ask(t, request{method: http.MethodHead, path: path}, http.StatusOK)
		if head.status != get.status || len(head.body) > 0 || head.header.Get("Content-Type") != get.header.Get("Content-Type") {
			h.errs = append(h.errs, fmt.Errorf("HEAD %s: %d %q, and GET: %d %q", path, head.status, head.header.Get("Content-Type"), get.status, get.header.Get("Content-Type")))
		}
	}
}

// otherMethods expects a 405 for what the document lacks at a path that it has.
func (h *holding) otherMethods(t *testing.T) {
	t.Helper()
	for path, item := range h.spec.Paths.Map() {
		methods := slices.Collect(maps.Keys(item.Operations()))
		if item.Get != nil {
			methods = append(methods, http.MethodHead)
		}
		slices.Sort(methods)
		for _, op := range item.Operations() {
			target := operation{"", path, op, item}.pathExample("")
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} {
				if slices.Contains(methods, method) {
					continue
				}
				got, err := send(t.Context(), method, h.url+target, nil, "")
				if err != nil {
					t.Fatal(err)
				}
				if want := strings.Join(methods, ", "); got.status != http.StatusMethodNotAllowed || got.header.Get("Allow") != want {
					h.errs = append(h.errs, fmt.Errorf("%s %s: %d, Allow: %s; the document says %s", method, target, got.status, got.header.Get("Allow"), want))
				}
			}
			break // the path is the same for each
		}
	}
}
