package main

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

const requestHead = "# go tool lab run 01\n@platforms = http://example.com\n"

func TestExpectations(t *testing.T) {
	var count atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", "/x/4")
		if r.URL.Path == "/slow" && count.Add(1) < 3 {
			w.WriteHeader(http.StatusAccepted)
			return
		}
		w.WriteHeader(http.StatusCreated)
		_, _ = w.Write([]byte(`{"id":4,"name":"Docker","tags":["a","b"]}`))
	}))
	defer server.Close()
	for expected, want := range map[string]string{
		"201":                                                   "",
		"200":                                                   "the status is 201, not 200",
		"201\n# expect header Location: /x/4":                   "",
		"201\n# expect header Location: /x/5":                   `the header Location is "/x/4", not "/x/5"`,
		"201\n# expect header X-Request-ID: …":                  `the header X-Request-ID is "", not "…"`,
		`201` + "\n# expect body {\"id\":4,…}":                  "",
		"201\n# expect body {\"id\":5,…}":                       "body.id is 4, not 5",
		"201\n# expect body {\"id\":\"4\",…}":                   `body.id is 4, not "4"`,
		"201\n# expect body {\"id\":4}":                         "body has name, which is not expected",
		"201\n# expect body {\"cost\":\"…\",…}":                 "body has no cost",
		"201\n# expect body {\"name\":\"…\",…}":                 "",
		"201\n# expect body {\"tags\":[\"a\",…],…}":             "",
		"201\n# expect body {\"tags\":[\"a\"],…}":               "body.tags has 2 items, not 1",
		"201\n# expect body {\"tags\":[\"a\",\"b\",\"c\",…],…}": "body.tags has 2 items, not 3",
		"201\n# expect body [{\"id\":4,…}]":                     "not [",
		"201\n# expect text Docker":                             "",
		"201\n# expect text Podman":                             `the body does not have "Podman"`,
	} {
		f, err := parseRequests("x.http", requestHead+"### One\n# expect "+expected+"\nPOST {{platforms}}/x\nContent-Type: application/json\n\n{}\n")
		if err != nil {
			t.Fatal(err)
		}
		err = f.requests[0].sendTo(t.Context(), server.URL, time.Second)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", expected, err, want)
		}
	}
	f, err := parseRequests("x.http", requestHead+"# expect 201\n# eventually\nGET {{platforms}}/slow\n")
	if err != nil {
		t.Fatal(err)
	}
	if err := f.requests[0].sendTo(t.Context(), server.URL+"/slow", time.Minute); err != nil {
		t.Error(err)
	}
}

func TestRequestFilesThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		"@x = y\n### A\n# expect 200\nGET http://x\n":        "no comment says go tool lab run STAGE",
		requestHead + "GET {{platforms}}/\n":                 "x.http:3: this request expects no status",
		requestHead + "# expect 200\n### B\n":                "x.http:4: no request before this line",
		requestHead + "# expect 999\nGET {{platforms}}/\n":   "x.http:3: unknown expectation: 999",
		requestHead + "# expect body {\"a\":}\nGET x\n":      "x.http:3: not JSON",
		requestHead + "FETCH {{platforms}}/\n":               "x.http:3: neither a request, a comment nor a variable",
		requestHead + "# expect 200\nGET {{platforms}}/\nno": "x.http:5: not a header",
	} {
		if _, err := parseRequests("x.http", text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestRoutesWithoutARequest(t *testing.T) {
	v, out := fixture(t, map[string]string{
		"01-rest/platformservice/rest.go": `package platformservice

func (a *restAPI) handler() http.Handler {
	routes.handle("/api/platforms", methods{http.MethodGet: a.list, http.MethodPost: timed(a.create)})
	routes.handle("/api/platforms/{id}", methods{http.MethodGet: a.get})
}
`,
		"01-rest/platformservice/health.go": `package platformservice

var probes = map[string]methods{"/livez": {http.MethodGet: h.live}}
`,
	})
	f, err := parseRequests("x.http", requestHead+`
### A
# expect 200
GET {{platforms}}/api/platforms/1
### B
# expect 200
GET {{platforms}}/api/platforms/?limit=1
### C
# expect 200
GET {{commands}}/livez
`)
	if err != nil {
		t.Fatal(err)
	}
	if err := v.checkRoutes([]*requestFile{f}); err != nil {
		t.Fatal(err)
	}
	want := `       01-rest: no request in docs/requests for POST /api/platforms of platforms
       no request in docs/requests for GET /livez of platforms
`
	if v.report.failed != 1 || !strings.HasSuffix(out.String(), want) {
		t.Errorf("got %s\nwant %s", out, want)
	}
}

// The patterns that find the routes in the source still match.
func TestEveryStageHasRoutes(t *testing.T) {
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	for stage, want := range map[string]int{"01-rest": 3, "02-http-sync": 8, "07-grpc": 13, "final": 13} {
		routes, err := routesOf(filepath.Join(root, stage))
		if err != nil || len(routes) < want {
			t.Errorf("%s: got %d routes and %v, want at least %d", stage, len(routes), err, want)
		}
	}
	if _, err := routesOf(t.TempDir()); err == nil || os.IsNotExist(err) {
		t.Errorf("a folder without services: got %v", err)
	}
}
