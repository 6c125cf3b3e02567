package web_test

import (
	"net/http"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"

	"microcomm/final/apidoc"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestFilesAreSentUnlessTheClientHasThem(t *testing.T) {
	log, _ := testkit.CaptureLog()
	routes := web.NewRouter(nil, fail(log))
	routes.HandleFiles(map[string]apidoc.File{"/openapi.json": {Type: "application/json", Body: []byte(`{"openapi":"3.1.1"}`)}})
	url := testkit.Serve(t, routes)

	first := testkit.Send(t, "GET", url+"/openapi.json", "")
	testkit.RequireJSON(t, first, http.StatusOK, `{"openapi":"3.1.1"}`)
	assert.Equal(t, apidoc.Policy, first.Header.Get("Content-Security-Policy"))
	assert.Equal(t, strconv.Itoa(len(first.Body)), first.Header.Get("Content-Length"))
	tag := first.Header.Get("ETag")
	for _, known := range []string{tag, "W/" + tag, `"other", ` + tag, "*"} {
		r := testkit.Send(t, "GET", url+"/openapi.json/", "", "If-None-Match", known)
		assert.Equal(t, http.StatusNotModified, r.Status, known)
		assert.Equal(t, tag, r.Header.Get("ETag"))
		assert.Empty(t, r.Body)
	}
	// Parts of a file are not served: an impossible one would be an error without a problem.
	for _, header := range [][]string{{"If-None-Match", `"other"`}, {"If-None-Match", ""}, {"Range", "bytes=1-2"}, {"Range", "bytes=999999-"}, {"If-Match", `"other"`}} {
		r := testkit.Send(t, "GET", url+"/openapi.json", "", header...)
		assert.Equal(t, http.StatusOK, r.Status, header)
		assert.Equal(t, first.Body, r.Body)
	}
	head := testkit.Send(t, "HEAD", url+"/openapi.json", "")
	assert.Equal(t, first.Header.Get("Content-Length"), head.Header.Get("Content-Length"))
	assert.Empty(t, head.Body)
}
