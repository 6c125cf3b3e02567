package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"microcomm/final/apidoc"
)

// servePage serves the page about a document of this checkout, in front of service.
func servePage(t *testing.T, service http.HandlerFunc) string {
	t.Helper()
	behind := httptest.NewServer(service)
	t.Cleanup(behind.Close)
	handler, err := newHandler("Chapter", []string{filepath.Join("..", "..", "..", "01-rest", "platformservice", "openapi.yaml") + "=" + behind.URL})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func exchange(t *testing.T, method, url, body string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response, string(text)
}

func TestPageAndItsRequests(t *testing.T) {
	url := servePage(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, r.Method+" "+r.RequestURI+" "+string(body))
	})
	page, text := exchange(t, "GET", url+"/", "")
	if page.StatusCode != 200 || page.Header.Get("Content-Security-Policy") != apidoc.Policy {
		t.Errorf("page: %s, %v", page.Status, page.Header)
	}
	for _, want := range []string{"<title>Chapter</title>", `data-base="/platformservice"`, "createPlatform"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if created, text := exchange(t, "POST", url+"/platformservice/api/platforms?limit=%zz", "{}", "Sec-Fetch-Site", "same-origin"); created.StatusCode != 201 || text != "POST /api/platforms?limit=%zz {}" {
		t.Errorf("forwarded: %s %s", created.Status, text)
	}
	if document, text := exchange(t, "GET", url+"/platformservice/openapi.json", ""); document.StatusCode != 200 || !strings.Contains(text, `"3.1.1"`) {
		t.Errorf("document: %s %.100s", document.Status, text)
	}
}

func TestPagesElsewhereCannotSendRequests(t *testing.T) {
	url := servePage(t, func(http.ResponseWriter, *http.Request) { t.Error("forwarded") })
	if refused, _ := exchange(t, "POST", url+"/platformservice/api/platforms", "{}", "Sec-Fetch-Site", "cross-site"); refused.StatusCode != http.StatusForbidden {
		t.Errorf("from a page elsewhere: %s", refused.Status)
	}
}

func TestServiceThatIsDown(t *testing.T) {
	url := servePage(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	if got, text := exchange(t, "GET", url+"/platformservice/api/platforms", ""); got.StatusCode != http.StatusBadGateway || !strings.Contains(text, "does not respond") {
		t.Errorf("%s %s", got.Status, text)
	}
}

func TestWrongArguments(t *testing.T) {
	for _, pair := range []string{"missing.yaml=http://localhost:1", filepath.Join("..", "..", "..", "01-rest", "platformservice", "openapi.yaml")} {
		if _, err := newHandler("", []string{pair}); err == nil {
			t.Errorf("%s: no error", pair)
		}
	}
}
