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

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// serveAPI serves the REST API over an empty store.
func serveAPI(t testing.TB) (url string, store platformStore, logged *testkit.LogCapture) {
	t.Helper()
	store = memoryStore(t)
	log, logged := testkit.CaptureLog()
	return testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()), store, logged
}

func TestList(t *testing.T) {
	url, store, _ := serveAPI(t)

	t.Run("returns an empty array when there are no platforms", func(t *testing.T) {
		a := testkit.Send(t, "GET", url+"/api/platforms", "")
		assert.Equal(t, http.StatusOK, a.Status)
		assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
		assert.Equal(t, "[]\n", a.Body)
	})

	t.Run("returns all platforms in id order", func(t *testing.T) {
		createPlatform(t, store, "b")
		createPlatform(t, store, "a")
		a := testkit.Send(t, "GET", url+"/api/platforms", "")
		assert.Equal(t, http.StatusOK, a.Status)
		assert.Equal(t, `[{"id":1,"name":"b","publisher":"Microsoft","cost":"Free"},`+
			`{"id":2,"name":"a","publisher":"Microsoft","cost":"Free"}]`+"\n", a.Body)
	})

	t.Run("returns a page, and where the next one is", func(t *testing.T) {
		a := testkit.Send(t, "GET", url+"/api/platforms?limit=1", "")
		testkit.RequireJSON(t, a, http.StatusOK, `[{"id":1,"name":"b","publisher":"Microsoft","cost":"Free"}]`)
		assert.Equal(t, `</api/platforms?limit=1&after=1>; rel="next"`, a.Header.Get("Link"))
		a = testkit.Send(t, "GET", url+"/api/platforms?limit=1&after=1", "")
		testkit.RequireJSON(t, a, http.StatusOK, `[{"id":2,"name":"a","publisher":"Microsoft","cost":"Free"}]`)
		assert.Empty(t, a.Header.Get("Link"))
	})
}

func TestGet(t *testing.T) {
	url, store, _ := serveAPI(t)
	createPlatform(t, store, "x")

	t.Run("returns 200 with the platform", func(t *testing.T) {
		a := testkit.Send(t, "GET", url+"/api/platforms/1", "")
		assert.Equal(t, http.StatusOK, a.Status)
		assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
		assert.Equal(t, `{"id":1,"name":"x","publisher":"Microsoft","cost":"Free"}`+"\n", a.Body)
	})

	for _, id := range []string{"+1", "01"} {
		t.Run("reads the integer "+id+" as 1", func(t *testing.T) {
			assert.Equal(t, http.StatusOK, testkit.Send(t, "GET", url+"/api/platforms/"+id, "").Status)
		})
	}

	for id, status := range map[string]int{
		"2": 404, "0": 404, "-1": 404, "2147483647": 404,
		"2147483648": 404, "-2147483649": 404, "99999999999999999999": 404,
		"abc": 400, "1.5": 400, "1e3": 400, "0x1": 400, "1_000": 400, "%20": 400, "%201": 400, "%00": 400, "%FF": 400,
		"1;2": 400, "%D9%A1": 400, "null": 400, "%3Cb%3E": 400,
	} {
		t.Run(fmt.Sprintf("returns %d for the id %s", status, id), func(t *testing.T) {
			var fields []string
			if status == 400 {
				fields = []string{"id"}
			}
			testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/platforms/"+id, ""), status, fields...)
		})
	}
}

func TestCreate(t *testing.T) {
	const valid = `{"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`

	t.Run("returns 201 with the stored platform and its location", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		a := testkit.Send(t, "POST", url+"/api/platforms", valid)
		assert.Equal(t, http.StatusCreated, a.Status)
		assert.Equal(t, "application/json", a.Header.Get("Content-Type"))
		assert.Equal(t, "/api/platforms/1", a.Header.Get("Location"))
		assert.Equal(t, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`+"\n", a.Body)
		assert.Equal(t, a.Body, testkit.Send(t, "GET", url+a.Header.Get("Location"), "").Body)
	})

	t.Run("accepts", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		for what, body := range map[string]string{
			"names in any case":         `{"NAME":"Redis","Publisher":"Redis Ltd.","cOsT":"Free"}`,
			"unknown fields":            `{"id":77,"name":"Redis","publisher":"Redis Ltd.","cost":"Free","tags":[{"a":null}],"x":1e999}`,
			"blanks around the object":  " \r\n\t" + valid + "\n ",
			"the last of equal fields":  `{"name":"x","name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`,
			"any order, escaped fields": `{"cost":"Free","n\u0061me":"Redis","publisher":"Redis Ltd."}`,
		} {
			t.Run(what, func(t *testing.T) {
				a := testkit.Send(t, "POST", url+"/api/platforms", body)
				require.Equal(t, http.StatusCreated, a.Status, a.Body)
				assert.Contains(t, a.Body, `"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`)
				assert.NotContains(t, a.Header.Get("Location"), "77")
			})
		}
	})

	t.Run("refuses with 400", func(t *testing.T) {
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
				testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", row.body), http.StatusBadRequest, row.fields...)
			})
		}
		t.Run("no body", func(t *testing.T) {
			request := testkit.NewRequest(t, "POST", url+"/api/platforms", http.NoBody)
			testkit.RequireProblem(t, testkit.SendRequest(t, request), http.StatusBadRequest)
		})
		requireEmpty(t, store)
	})
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
			r := testkit.Send(t, "POST", url+"/api/platforms", valid, "Content-Type", contentType)
			testkit.RequireProblem(t, r, http.StatusUnsupportedMediaType)
		})
	}
	requireEmpty(t, store)

	for _, contentType := range []string{
		"application/json", "Application/JSON", "application/json; charset=utf-8", `application/json;charset="UTF-8"`,
		"application/json; profile=x", "text/json", "application/vnd.platform+json",
	} {
		t.Run("accepts "+contentType, func(t *testing.T) {
			r := testkit.Send(t, "POST", url+"/api/platforms", valid, "Content-Type", contentType)
			assert.Equal(t, http.StatusCreated, r.Status)
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
		{web.MaxBody, http.StatusCreated},
		{web.MaxBody + 1, http.StatusRequestEntityTooLarge},
	} {
		t.Run(fmt.Sprintf("%d bytes are a %d", row.size, row.status), func(t *testing.T) {
			a := testkit.Send(t, "POST", url+"/api/platforms", body(row.size))
			require.Equal(t, row.status, a.Status)
			if row.status != http.StatusCreated {
				testkit.RequireProblem(t, a, row.status)
			}
		})
		t.Run(fmt.Sprintf("%d bytes without a Content-Length are a %d", row.size, row.status), func(t *testing.T) {
			unsized := io.MultiReader(strings.NewReader(body(row.size))) // the client sends it in chunks
			request := testkit.NewRequest(t, "POST", url+"/api/platforms", unsized)
			require.Equal(t, row.status, testkit.SendRequest(t, request).Status)
		})
	}
}

// TestCreateBounds: the limits are in characters, not in bytes.
func TestCreateBounds(t *testing.T) {
	url, store, _ := serveAPI(t)
	for _, field := range []string{"name", "publisher", "cost"} {
		body := func(text string) string {
			fields := map[string]string{"name": "x", "publisher": "p", "cost": "1"}
			fields[field] = text
			encoded, err := json.Marshal(fields)
			require.NoError(t, err)
			return string(encoded)
		}
		t.Run(field+" may have 500 characters", func(t *testing.T) {
			r := testkit.Send(t, "POST", url+"/api/platforms", body(strings.Repeat("😀", 500)))
			assert.Equal(t, http.StatusCreated, r.Status)
		})
		t.Run(field+" may not have 501 characters", func(t *testing.T) {
			for _, text := range []string{strings.Repeat("😀", 501), strings.Repeat(" ", 501)} {
				p := testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", body(text)), http.StatusBadRequest, field)
				assert.Contains(t, fmt.Sprint(p.Errors[field]), "longer than 500 characters")
			}
		})
	}
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	assert.Len(t, platforms, 3)
}

func TestCreateContentEncoding(t *testing.T) {
	url, store, _ := serveAPI(t)
	const valid = `{"name":"x","publisher":"p","cost":"1"}`
	for encoding, status := range map[string]int{"gzip": 415, "br": 415, "gzip, identity": 415, "identity": 201, "Identity": 201} {
		t.Run(fmt.Sprintf("%s is a %d", encoding, status), func(t *testing.T) {
			r := testkit.Send(t, "POST", url+"/api/platforms", valid, "Content-Encoding", encoding)
			require.Equal(t, status, r.Status)
			if status == http.StatusUnsupportedMediaType {
				testkit.RequireProblem(t, r, status)
				assert.Equal(t, "identity", r.Header.Get("Accept-Encoding"))
			}
		})
	}
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	assert.Len(t, platforms, 2)
}

// TestCreateText: a text is returned as it was sent, or refused. It is never
// changed silently.
func TestCreateText(t *testing.T) {
	url, store, _ := serveAPI(t)

	refused := map[string]string{
		"a high surrogate":                   `a\ud83db`,
		"a high surrogate at the end":        `a\uD83D`,
		"a low surrogate":                    `\ude00a`,
		"a pair the wrong way round":         `\ude00\ud83d`,
		"two high surrogates":                `\ud83d\ud83d`,
		"two low surrogates":                 `\ude00\ude00`,
		"two high surrogates and a low one":  `\ud83d\ud83d\ude00`,
		"a pair and a low surrogate":         `\ud83d\ude00\ude00`,
		"a high surrogate and another \\u":   `\ud83d\u0041`,
		"a high surrogate and another \\":    `\ud83d\n`,
		"a high surrogate and plain de00":    `\ud83dude00`,
		"a high surrogate, a backslash":      `\ud83d\\ude00`,
		"a surrogate behind two backslashes": `\\\ud83d`,
		"a byte that is never in UTF-8":      "a\xffb",
		"an unfinished character":            "a\xe2\x82",
		"a lone continuation byte":           "\x80",
		"an overlong character":              "\xc0\xaf",
		"a surrogate as bytes":               "\xed\xa0\x80",
		"a character past the last":          "\xf4\x90\x80\x80",
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
				testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", body), http.StatusBadRequest)
			}
		})
	}
	requireEmpty(t, store)

	type texts struct{ Name, Publisher, Cost string }
	returns := func(t *testing.T, body string, sent texts) {
		t.Helper()
		created := testkit.Send(t, "POST", url+"/api/platforms", body)
		require.Equal(t, http.StatusCreated, created.Status)
		found := testkit.Send(t, "GET", url+created.Header.Get("Location"), "")
		for _, a := range []testkit.Response{created, found} {
			var got texts
			require.NoError(t, json.Unmarshal([]byte(a.Body), &got))
			assert.Equal(t, sent, got)
		}
	}
	for kind, text := range testkit.OddTexts() {
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

func TestPaths(t *testing.T) {
	url, store, _ := serveAPI(t)
	createPlatform(t, store, "x")

	// A redirected POST loses its body, so there is no redirect, ever.
	for _, row := range []struct {
		method, path string
		status       int
	}{
		{"GET", "/api/platforms/", 200},
		{"GET", "/api/platforms/1/", 200},
		{"POST", "/api/platforms/", 201},
		{"GET", "/api/platforms?page=1", 200},
		{"POST", "/api/platforms/?", 201},
		{"GET", "/", 404},
		{"GET", "/api", 404},
		{"GET", "/api/platform", 404},
		{"GET", "/api/Platforms", 404},
		{"GET", "/api/platforms/1/2", 404},
		{"GET", "/api/platforms//", 404},
		{"POST", "/api/platforms//", 404},
		{"POST", "//api/platforms", 404},
		{"GET", "/api//platforms/1", 404},
		{"POST", "/api/./platforms", 404},
		{"GET", "/api/platforms/../platforms/1", 404},
		{"GET", "/api/platforms/1%2F2", 404},
		{"GET", "/api%2Fplatforms%2F%2F1", 404},
		{"GET", "/%2Fexample.com/%2E%2E", 404},
		{"GET", "/%00%FF", 404},
	} {
		t.Run(row.method+" "+row.path, func(t *testing.T) {
			body := ""
			if row.method == "POST" {
				body = `{"name":"x","publisher":"p","cost":"1"}`
			}
			a := testkit.Send(t, row.method, url+row.path, body)
			if row.status == http.StatusNotFound {
				testkit.RequireProblem(t, a, row.status)
			} else {
				assert.Equal(t, row.status, a.Status, a.Body)
			}
		})
	}
}

func TestMethods(t *testing.T) {
	url, store, _ := serveAPI(t)
	createPlatform(t, store, "x")

	for path, row := range map[string]struct {
		allow   string
		methods []string
	}{
		"/api/platforms":     {"GET, HEAD, POST", []string{"PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "get", "BREW"}},
		"/api/platforms/1":   {"GET, HEAD", []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS"}},
		"/api/platforms/1/":  {"GET, HEAD", []string{"POST"}},
		"/api/platforms/abc": {"GET, HEAD", []string{"DELETE"}},
	} {
		for _, method := range row.methods {
			t.Run(method+" "+path+" is a 405 that lists the allowed methods", func(t *testing.T) {
				a := testkit.Send(t, method, url+path, "")
				testkit.RequireProblem(t, a, http.StatusMethodNotAllowed)
				assert.Equal(t, row.allow, a.Header.Get("Allow"))
			})
		}
	}

	for path, status := range map[string]int{"/api/platforms": 200, "/api/platforms/1": 200, "/api/platforms/2": 404} {
		t.Run("HEAD "+path+" is a GET without the body", func(t *testing.T) {
			get, head := testkit.Send(t, "GET", url+path, ""), testkit.Send(t, "HEAD", url+path, "")
			assert.Equal(t, status, head.Status)
			assert.Empty(t, head.Body)
			assert.Equal(t, get.Header.Get("Content-Type"), head.Header.Get("Content-Type"))
		})
	}
}

// TestStoreFailure: only the log says what went wrong with the database.
func TestStoreFailure(t *testing.T) {
	store := memoryStore(t)
	require.NoError(t, store.close())
	for _, row := range []struct{ method, path, body string }{
		{"GET", "/api/platforms", ""},
		{"GET", "/api/platforms/1", ""},
		{"POST", "/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`},
	} {
		t.Run(row.method+" "+row.path+" is a 500, logged once", func(t *testing.T) {
			log, logged := testkit.CaptureLog()
			url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
			a := testkit.Send(t, row.method, url+row.path, row.body)
			testkit.RequireProblem(t, a, http.StatusInternalServerError)
			assert.NotContains(t, strings.ToLower(a.Body), "sql")
			assert.NotContains(t, a.Body, "closed")
			require.Len(t, logged.Lines(""), 1)
			assert.Len(t, logged.Lines("database is closed"), 1)
		})
	}

	t.Run("bad input is still a 400", func(t *testing.T) {
		log, _ := testkit.CaptureLog()
		url := testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler())
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost")
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/platforms/abc", ""), http.StatusBadRequest, "id")
	})
}

// FuzzCreate: the response to any body is a 201 that can be read back, or one
// of the refusals. Without -fuzz, go test runs it over the bodies added here.
func FuzzCreate(f *testing.F) {
	for _, body := range randomBodies(200) {
		f.Add(body)
	}
	log, _ := testkit.CaptureLog()
	api := (&restAPI{store: memoryStore(f), slots: web.NewSlots(100), log: log}).handler()

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

func requireEmpty(t testing.TB, store platformStore) {
	t.Helper()
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	require.Empty(t, platforms)
}
