package platformservice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestCreateRefuses: the response to any other body is a 400.
func TestCreateRefuses(t *testing.T) {
	const valid = `{"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`
	url, store, _ := serveAPI(t)
	all := []string{"name", "publisher", "cost"}
	for _, row := range []struct {
		what, body string
		fields     []string // in errors
	}{
		{"an empty object", `{}`, all},
		{"null", `null`, all},
		{"a missing field", `{"name":"x","publisher":"p"}`, []string{"cost"}},
		{"an empty field", `{"name":"","publisher":"p","cost":"1"}`, []string{"name"}},
		{"a blank field", `{"name":"x","publisher":" \t\n\u00a0\u3000","cost":"1"}`, []string{"publisher"}},
		{"a null field", `{"name":"x","publisher":"p","cost":null}`, []string{"cost"}},
		{"a number", `{"name":"x","publisher":"p","cost":0}`, []string{"cost"}},
		{"a boolean", `{"name":true,"publisher":"p","cost":"1"}`, []string{"name"}},
		{"an array in a field", `{"name":["x"],"publisher":"p","cost":"1"}`, []string{"name"}},
		{"an object in a field", `{"NAME":{"name":"x"},"publisher":"p","cost":"1"}`, []string{"name"}},
		{"an array", `[` + valid + `]`, nil},
		{"an empty array", `[]`, nil},
		{"a string", `"x"`, nil},
		{"a lone number", `1`, nil},
		{"a lone true", `true`, nil},
		{"blanks only", " \n", nil},
		{"an unfinished object", valid[:len(valid)-1], nil},
		{"an unfinished string", `{"name":"x`, nil},
		{"single quotes", `{'name':'x'}`, nil},
		{"bare words", `{name:x}`, nil},
		{"a trailing comma", `{"name":"x","publisher":"p","cost":"1",}`, nil},
		{"a comment", `{"name":"x","publisher":"p","cost":"1"} // free`, nil},
		{"a second object", valid + valid, nil},
		{"trailing data", valid + `x`, nil},
		{"a trailing NUL", valid + "\x00", nil},
		{"a byte order mark", "\ufeff" + valid, nil},
		{"a raw line break in a string", "{\"name\":\"a\nb\",\"publisher\":\"p\",\"cost\":\"1\"}", nil},
		{"an unknown escape", `{"name":"\x41","publisher":"p","cost":"1"}`, nil},
		{"a short escape", `{"name":"\u00","publisher":"p","cost":"1"}`, nil},
		{"a backslash as the last byte", `{"name":"\`, nil},
		{"XML", `<name>x</name>`, nil},
		{"a form", `name=x&publisher=p&cost=1`, nil},
		{"very deep nesting", strings.Repeat(`{"x":`, 20_000), nil},
	} {
		t.Run(row.what, func(t *testing.T) {
			requireProblem(t, send(t, "POST", url+"/api/platforms", row.body), http.StatusBadRequest, row.fields...)
		})
	}
	t.Run("no body", func(t *testing.T) {
		request := newRequest(t, "POST", url+"/api/platforms", http.NoBody)
		requireProblem(t, sendRequest(t, request), http.StatusBadRequest)
	})
	requireEmpty(t, store)
}

// TestCreateContentType: a body that is not declared as JSON is not read.
func TestCreateContentType(t *testing.T) {
	url, store, _ := serveAPI(t)
	const valid = `{"name":"x","publisher":"p","cost":"1"}`

	for _, contentType := range []string{
		"", "json", "text/plain", "application/xml", "application/x-www-form-urlencoded",
		"multipart/form-data; boundary=x", "text/plain+json", "application/jsonp", "application/json/x",
		"application/json; charset=iso-8859-1", "application/json; charset=utf-16", "application/json; charset",
	} {
		t.Run("refuses "+contentType, func(t *testing.T) {
			r := send(t, "POST", url+"/api/platforms", valid, "Content-Type", contentType)
			requireProblem(t, r, http.StatusUnsupportedMediaType)
		})
	}
	requireEmpty(t, store)

	for _, contentType := range []string{
		"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`,
		"application/json; profile=x", "text/json", "application/vnd.platform+json",
	} {
		t.Run("accepts "+contentType, func(t *testing.T) {
			r := send(t, "POST", url+"/api/platforms", valid, "Content-Type", contentType)
			assert.Equal(t, http.StatusCreated, r.status)
		})
	}
}

func TestCreateBodySize(t *testing.T) {
	url, _, _ := serveAPI(t)
	body := func(size int) string {
		const start, end = `{"name":"x","publisher":"p","cost":"1","other":"`, `"}`
		return start + strings.Repeat("x", size-len(start)-len(end)) + end
	}
	for _, row := range []struct {
		size, status int
	}{
		{maxBody, http.StatusCreated},
		{maxBody + 1, http.StatusRequestEntityTooLarge},
	} {
		t.Run(fmt.Sprintf("%d bytes are a %d", row.size, row.status), func(t *testing.T) {
			resp := send(t, "POST", url+"/api/platforms", body(row.size))
			require.Equal(t, row.status, resp.status)
			if row.status != http.StatusCreated {
				requireProblem(t, resp, row.status)
			}
		})
		t.Run(fmt.Sprintf("%d bytes without a Content-Length are a %d", row.size, row.status), func(t *testing.T) {
			unsized := io.MultiReader(strings.NewReader(body(row.size))) // the client sends it in chunks
			request := newRequest(t, "POST", url+"/api/platforms", unsized)
			require.Equal(t, row.status, sendRequest(t, request).status)
		})
	}
}

func TestCreateContentEncoding(t *testing.T) {
	url, store, _ := serveAPI(t)
	const valid = `{"name":"x","publisher":"p","cost":"1"}`
	for encoding, status := range map[string]int{"gzip": 415, "br": 415, "gzip, identity": 415, "identity": 201, "Identity": 201} {
		t.Run(fmt.Sprintf("%s is a %d", encoding, status), func(t *testing.T) {
			r := send(t, "POST", url+"/api/platforms", valid, "Content-Encoding", encoding)
			require.Equal(t, status, r.status)
			if status == http.StatusUnsupportedMediaType {
				requireProblem(t, r, status)
				assert.Equal(t, "identity", r.header.Get("Accept-Encoding"))
			}
		})
	}
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Len(t, platforms, 2)
}

// TestCreateText: a text is returned as it was sent, or refused. It is never
// changed silently.
func TestCreateText(t *testing.T) {
	url, store, _ := serveAPI(t)

	refused := map[string]string{
		"a byte that is never in UTF-8": "a\xffb",
		"an unfinished character":       "a\xe2\x82",
		"a lone continuation byte":      "\x80",
		"an overlong character":         "\xc0\xaf",
		"a surrogate as bytes":          "\xed\xa0\x80",
		"a character past the last":     "\xf4\x90\x80\x80",
	}
	for kind, text := range refused {
		t.Run("refuses "+kind, func(t *testing.T) {
			for _, body := range []string{
				`{"name":"` + text + `","publisher":"p","cost":"1"}`,
				`{"name":"x","publisher":"` + text + `","cost":"1"}`,
				`{"name":"x","publisher":"p","cost":"` + text + `"}`,
				`{"name":"x","publisher":"p","cost":"1","other":"` + text + `"}`,
				`{"name":"x","publisher":"p","cost":"1","` + text + `":1}`,
			} {
				requireProblem(t, send(t, "POST", url+"/api/platforms", body), http.StatusBadRequest)
			}
		})
	}
	requireEmpty(t, store)

	type texts struct{ Name, Publisher, Cost string }
	returns := func(t *testing.T, body string, sent texts) {
		t.Helper()
		created := send(t, "POST", url+"/api/platforms", body)
		require.Equal(t, http.StatusCreated, created.status)
		found := send(t, "GET", url+created.header.Get("Location"), "")
		for _, resp := range []response{created, found} {
			var got texts
			require.NoError(t, json.Unmarshal([]byte(resp.body), &got))
			assert.Equal(t, sent, got)
		}
	}
	for kind, text := range oddTexts() {
		t.Run("returns "+kind, func(t *testing.T) {
			sent := texts{Name: text, Publisher: text, Cost: "1"}
			body, err := json.Marshal(sent)
			require.NoError(t, err)
			returns(t, string(body), sent)
		})
	}
	for kind, row := range map[string]struct{ escaped, text string }{
		"an escaped pair":               {`\ud83d\ude00\uD83D\uDE00`, "😀😀"},
		"an escaped NUL":                {`a\u0000b`, "a\x00b"},
		"an escaped backslash before u": {`\\ud83d \\\\ude00`, `\ud83d \\ude00`},
		"the neighbours of surrogates":  {`\ud7ff\ue000\uffff`, "\ud7ff\ue000\uffff"},
		"every short escape":            {`\"\\\/\b\f\n\r\t`, "\"\\/\b\f\n\r\t"},
	} {
		t.Run("returns "+kind, func(t *testing.T) {
			returns(t, `{"name":"`+row.escaped+`","publisher":"p","cost":"1"}`, texts{row.text, "p", "1"})
		})
	}
}

// FuzzCreate: the response to any body is a 201 that can be read back, or one
// of the refusals. Without -fuzz, go test runs it over the bodies added here.
func FuzzCreate(f *testing.F) {
	for _, body := range randomBodies(200) {
		f.Add(body)
	}
	log, _ := captureLog()
	api := newAPI(memoryStore(f), log).handler()

	f.Fuzz(func(t *testing.T, body []byte) {
		created := httptest.NewRecorder()
		request := httptest.NewRequest("POST", "/api/platforms", bytes.NewReader(body))
		request.Header.Set("Content-Type", "application/json")
		api.ServeHTTP(created, request)
		switch created.Code {
		case http.StatusCreated:
			found := httptest.NewRecorder()
			api.ServeHTTP(found, httptest.NewRequest("GET", created.Header().Get("Location"), nil))
			require.Equal(t, http.StatusOK, found.Code)
			require.Equal(t, created.Body.String(), found.Body.String())
			// encoding/json is lenient about text, but the response must hold
			// exactly what it read from the body.
			var sent, got platformCreate
			require.NoError(t, json.Unmarshal(body, &sent))
			require.NoError(t, json.Unmarshal(found.Body.Bytes(), &got))
			require.Equal(t, sent, got)
		case http.StatusBadRequest, http.StatusRequestEntityTooLarge:
		default:
			t.Fatalf("status %d", created.Code)
		}
	})
}

// randomBodies returns n bodies, the same ones each time: some valid, most of
// them valid ones with a few random changes, some random from end to end.
func randomBodies(n int) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	texts := []string{`"x"`, `"Free"`, `"😀"`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u0000"`, `" "`, `""`, "\"\xff\"", `"<b>'\""`}
	values := append([]string{`null`, `0`, `-1`, `1e999`, `true`, `[]`, `{}`, `[[{"name":"x"}]]`}, texts...)
	names := []string{`"name"`, `"publisher"`, `"cost"`, `"NAME"`, `"id"`, `""`, `"n\u0061me"`, `name`}
	pieces := append([]string{`{`, `}`, `[`, `]`, `,`, `:`, `"`, `\`, `\u`, `\ud83d`, "\x00", "\xed\xa0\x80", "\ufeff", "/*"}, values...)

	bodies := make([][]byte, n)
	for i := range bodies {
		body := fmt.Sprintf(`{"name":%s,"publisher":%s,"cost":%s}`, pick(texts), pick(texts), pick(texts))
		switch i % 4 {
		case 0: // unchanged
		case 1: // other fields
			body = "{"
			for range random.IntN(6) {
				body += pick(names) + ":" + pick(values) + ","
			}
			body += `"cost":"1"}`
		case 2: // some pieces replaced by others
			for range 1 + random.IntN(3) {
				from := random.IntN(len(body) + 1)
				to := min(len(body), from+random.IntN(4))
				body = body[:from] + pick(pieces) + body[to:]
			}
		case 3: // random bytes, or pieces
			body = ""
			for range random.IntN(40) {
				if i%8 == 3 {
					body += string([]byte{byte(random.IntN(256))})
				} else {
					body += pick(pieces)
				}
			}
		}
		bodies[i] = []byte(body)
	}
	return bodies
}
