package apidoc

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

const things = `
openapi: 3.1.1
info: {title: Things, version: "1", summary: What there is., description: "It keeps <b>things</b>, see ` + "`id`" + `."}
tags: [{name: All}]
paths:
  /api/things:
    post:
      operationId: createThing
      tags: [All]
      summary: Create a thing
      requestBody:
        content:
          application/json:
            schema: {$ref: "#/components/schemas/Thing"}
            example: {name: It's one}
      responses:
        "201": {description: It is stored.}
  /livez:
    get:
      operationId: livez
      tags: [All]
      summary: Alive?
      responses:
        "200": {description: It is.}
components:
  schemas:
    Thing:
      type: object
      required: [name]
      properties:
        name: {type: string, maxLength: 10}
`

func TestPageShowsWhatTheDocumentSays(t *testing.T) {
	files, err := Files("All of it", API{Document: []byte(things), Address: "http://localhost:1"})
	require.NoError(t, err)
	page := string(files["/docs"].Body)
	_, err = html.Parse(strings.NewReader(page))
	require.NoError(t, err)
	for _, want := range []string{
		"<title>All of it</title>", `id="createThing"`, "/api/things", "It is stored.", "string, at most 10 characters",
		`curl -i http://localhost:1/api/things`, `-d &#39;{&#34;name&#34;:&#34;It&#39;\&#39;&#39;s one&#34;}&#39;`,
		"It keeps &lt;b&gt;things&lt;/b&gt;, see <code>id</code>.",
	} {
		assert.Contains(t, page, want)
	}
	for _, path := range []string{"/docs/page.css", "/docs/try.js"} {
		assert.Contains(t, page, path)
		assert.NotEmpty(t, files[path].Body)
	}
	assert.NotContains(t, page, "<style", "the policy forbids it")
	assert.NotContains(t, page, "style=", "the policy forbids it")
}

func TestDocumentAsJSONKeepsItsOrder(t *testing.T) {
	files, err := Files("", API{Document: []byte(things)})
	require.NoError(t, err)
	text := string(files["/openapi.json"].Body)
	require.True(t, json.Valid([]byte(text)))
	assert.Less(t, strings.Index(text, `"openapi"`), strings.Index(text, `"info"`))
	assert.Contains(t, text, `"version": "1"`, "a text stays one")
	assert.Contains(t, text, `"maxLength": 10`)
}

func TestDocumentsOfOneAddressAreMerged(t *testing.T) {
	others := strings.NewReplacer("Things", "Others", "things", "others", "createThing", "createOther").Replace(things)
	files, err := Files("Both", API{Document: []byte(things), Only: "/api/"}, API{Document: []byte(others), Only: "/api/"})
	require.NoError(t, err)
	var whole struct {
		Info  struct{ Title string }
		Paths map[string]any
	}
	require.NoError(t, json.Unmarshal(files["/openapi.json"].Body, &whole))
	assert.Equal(t, "Both", whole.Info.Title)
	assert.Contains(t, whole.Paths, "/api/things")
	assert.Contains(t, whole.Paths, "/api/others")
	assert.Len(t, whole.Paths, 2, "no probes")
	page := string(files["/docs"].Body)
	assert.Contains(t, page, `id="createOther"`)
	assert.NotContains(t, page, `id="livez"`)
}

func TestDocumentsThatContradictEachOtherAreRefused(t *testing.T) {
	others := strings.NewReplacer("things", "others", "maxLength: 10", "maxLength: 11").Replace(things)
	_, err := Files("Both", API{Document: []byte(things), Only: "/api/"}, API{Document: []byte(others), Only: "/api/"})
	require.ErrorContains(t, err, "differ in Thing")
}

func TestDocumentsOfSeveralAddressesStayApart(t *testing.T) {
	files, err := Files("Both", API{Document: []byte(things), Base: "/a"}, API{Document: []byte(things), Base: "/b"})
	require.NoError(t, err)
	assert.Contains(t, files, "/a/openapi.json")
	assert.Contains(t, files, "/b/openapi.json")
	assert.NotContains(t, files, "/openapi.json")
}

func TestWhatIsNoDocumentIsRefused(t *testing.T) {
	for _, text := range []string{"", "a: [", "openapi: 3.1.1", "- 1"} {
		_, err := Files("", API{Document: []byte(text)})
		require.ErrorContains(t, err, "API document 1", text)
	}
}
