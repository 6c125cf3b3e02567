package platformservice

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveAPI serves the REST API over an empty store.
func serveAPI(t testing.TB) (url string, store platformStore, logged *logCapture) {
	t.Helper()
	store = memoryStore(t)
	log, logged := captureLog()
	return serve(t, newAPI(store, log).handler()), store, logged
}

func TestList(t *testing.T) {
	url, store, _ := serveAPI(t)

	t.Run("returns an empty array when there are no platforms", func(t *testing.T) {
		resp := send(t, "GET", url+"/api/platforms", "")
		assert.Equal(t, http.StatusOK, resp.status)
		assert.Equal(t, "application/json", resp.header.Get("Content-Type"))
		assert.Equal(t, "[]\n", resp.body)
	})

	t.Run("returns all platforms in id order", func(t *testing.T) {
		createPlatform(t, store, "b")
		createPlatform(t, store, "a")
		resp := send(t, "GET", url+"/api/platforms", "")
		assert.Equal(t, http.StatusOK, resp.status)
		assert.Equal(t, `[{"id":1,"name":"b","publisher":"Microsoft","cost":"Free"},`+
			`{"id":2,"name":"a","publisher":"Microsoft","cost":"Free"}]`+"\n", resp.body)
	})
}

func TestGet(t *testing.T) {
	url, store, _ := serveAPI(t)
	createPlatform(t, store, "x")

	t.Run("returns 200 with the platform", func(t *testing.T) {
		resp := send(t, "GET", url+"/api/platforms/1", "")
		assert.Equal(t, http.StatusOK, resp.status)
		assert.Equal(t, "application/json", resp.header.Get("Content-Type"))
		assert.Equal(t, `{"id":1,"name":"x","publisher":"Microsoft","cost":"Free"}`+"\n", resp.body)
	})

	for _, id := range []string{"+1", "01"} {
		t.Run("reads the integer "+id+" as 1", func(t *testing.T) {
			assert.Equal(t, http.StatusOK, send(t, "GET", url+"/api/platforms/"+id, "").status)
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
			requireProblem(t, send(t, "GET", url+"/api/platforms/"+id, ""), status, fields...)
		})
	}
}

func TestCreate(t *testing.T) {
	const valid = `{"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`

	t.Run("returns 201 with the stored platform and its location", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		resp := send(t, "POST", url+"/api/platforms", valid)
		assert.Equal(t, http.StatusCreated, resp.status)
		assert.Equal(t, "application/json", resp.header.Get("Content-Type"))
		assert.Equal(t, "/api/platforms/1", resp.header.Get("Location"))
		assert.Equal(t, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`+"\n", resp.body)
		assert.Equal(t, resp.body, send(t, "GET", url+resp.header.Get("Location"), "").body)
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
				resp := send(t, "POST", url+"/api/platforms", body)
				require.Equal(t, http.StatusCreated, resp.status, resp.body)
				assert.Contains(t, resp.body, `"name":"Redis","publisher":"Redis Ltd.","cost":"Free"}`)
				assert.NotContains(t, resp.header.Get("Location"), "77")
			})
		}
	})

	t.Run("refuses invalid fields, and names all of them", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		r := send(t, "POST", url+"/api/platforms", `{"name":"Redis","publisher":" "}`)
		requireProblem(t, r, http.StatusBadRequest, "publisher", "cost")
		requireEmpty(t, store)
	})
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
			r := send(t, "POST", url+"/api/platforms", body(strings.Repeat("😀", 500)))
			assert.Equal(t, http.StatusCreated, r.status)
		})
		t.Run(field+" may not have 501 characters", func(t *testing.T) {
			for _, text := range []string{strings.Repeat("😀", 501), strings.Repeat(" ", 501)} {
				p := requireProblem(t, send(t, "POST", url+"/api/platforms", body(text)), http.StatusBadRequest, field)
				assert.Contains(t, fmt.Sprint(p.Errors[field]), "longer than 500 characters")
			}
		})
	}
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Len(t, platforms, 3)
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
			resp := send(t, row.method, url+row.path, body)
			if row.status == http.StatusNotFound {
				requireProblem(t, resp, row.status)
			} else {
				assert.Equal(t, row.status, resp.status, resp.body)
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
				resp := send(t, method, url+path, "")
				requireProblem(t, resp, http.StatusMethodNotAllowed)
				assert.Equal(t, row.allow, resp.header.Get("Allow"))
			})
		}
	}

	for path, status := range map[string]int{"/api/platforms": 200, "/api/platforms/1": 200, "/api/platforms/2": 404} {
		t.Run("HEAD "+path+" is a GET without the body", func(t *testing.T) {
			get, head := send(t, "GET", url+path, ""), send(t, "HEAD", url+path, "")
			assert.Equal(t, status, head.status)
			assert.Empty(t, head.body)
			assert.Equal(t, get.header.Get("Content-Type"), head.header.Get("Content-Type"))
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
			log, logged := captureLog()
			url := serve(t, newAPI(store, log).handler())
			resp := send(t, row.method, url+row.path, row.body)
			requireProblem(t, resp, http.StatusInternalServerError)
			assert.NotContains(t, strings.ToLower(resp.body), "sql")
			assert.NotContains(t, resp.body, "closed")
			require.Len(t, logged.lines(""), 1)
			assert.Len(t, logged.lines("database is closed"), 1)
		})
	}

	t.Run("bad input is still a 400", func(t *testing.T) {
		log, _ := captureLog()
		url := serve(t, newAPI(store, log).handler())
		requireProblem(t, send(t, "POST", url+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost")
		requireProblem(t, send(t, "GET", url+"/api/platforms/abc", ""), http.StatusBadRequest, "id")
	})
}

// TestClientDisconnects: the client closes its side of the connection while the
// store is busy with its request.
func TestClientDisconnects(t *testing.T) {
	const valid = `{"name":"x","publisher":"p","cost":"1"}`

	t.Run("a GET is abandoned, without a response and without an error in the log", func(t *testing.T) {
		store := memoryStore(t)
		log, logged := captureLog()
		for _, path := range []string{"/api/platforms", "/api/platforms/1"} {
			assert.Empty(t, sendAndDisconnect(t, newAPI(store, log).handler(), store, "GET", path, ""))
		}
		assert.Len(t, logged.lines("client disconnected"), 2)
		assert.Len(t, logged.lines("level=DEBUG"), 2)
		assert.Len(t, logged.lines(""), 2)
	})

	t.Run("a POST is completed", func(t *testing.T) {
		store := memoryStore(t)
		log, _ := captureLog()
		got := sendAndDisconnect(t, newAPI(store, log).handler(), store, "POST", "/api/platforms", valid)
		assert.Contains(t, got, "201 Created")
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 1)
	})

	t.Run("a POST that fails has its error in the log", func(t *testing.T) {
		store := memoryStore(t)
		_, err := store.(*sqliteStore).db.Exec(`DROP TABLE platforms`)
		require.NoError(t, err)
		log, logged := captureLog()
		got := sendAndDisconnect(t, newAPI(store, log).handler(), store, "POST", "/api/platforms", valid)
		assert.Contains(t, got, "500 Internal Server Error")
		assert.Len(t, logged.lines("request failed"), 1)
	})
}

// sendAndDisconnect sends a request to api while store, which is in memory, is
// busy, closes the client's side of the connection, and returns what the server
// sends after it has noticed.
func sendAndDisconnect(t *testing.T, api http.Handler, store platformStore, method, path, body string) string {
	t.Helper()
	busy, err := store.(*sqliteStore).db.Conn(t.Context()) // the only connection that it has
	require.NoError(t, err)
	defer busy.Close()
	noticed := make(chan struct{})
	url := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(noticed) })
		api.ServeHTTP(w, r)
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		method, path, len(body), body)
	require.NoError(t, err)
	require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	receive(t, "the end of the request", noticed)
	if method == http.MethodPost { // which is completed: the store is free for it
		require.NoError(t, busy.Close())
	}
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	return string(got)
}

func requireEmpty(t testing.TB, store platformStore) {
	t.Helper()
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	require.Empty(t, platforms)
}
