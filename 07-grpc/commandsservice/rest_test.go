package commandsservice

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

// The body that the .NET PlatformService sends.
const recordedPost = `{"Id":1,"Name":"Dot Net","Publisher":"Microsoft","Cost":"Free"}`

func TestReceivePlatform(t *testing.T) {
	t.Run("returns 200 and stores the platform", func(t *testing.T) {
		url, _, logged := serveAPI(t)
		got := send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`)
		requireJSON(t, got, http.StatusOK, `{"id":4,"name":"x"}`)
		requireJSON(t, send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
		assert.Len(t, logged.lines("platform received by HTTP"), 1)
	})

	t.Run("accepts what the .NET service sends", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		requireJSON(t, send(t, "POST", url+"/api/c/platforms/", recordedPost), http.StatusOK, `{"id":1,"name":"Dot Net"}`)
	})

	t.Run("a known platform keeps its name", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"first"}`)
		got := send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"second"}`)
		requireJSON(t, got, http.StatusOK, `{"id":4,"name":"first"}`)
		requireJSON(t, send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"first"}]`)
	})

	t.Run("an empty body only tests the connection", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		for _, header := range [][]string{nil, {"Content-Type", ""}, {"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}} {
			for _, path := range []string{"/api/c/platforms", "/api/c/platforms/"} {
				assert.Equal(t, http.StatusOK, send(t, "POST", url+path, "", header...).status)
			}
		}
		chunked := newRequest(t, "POST", url+"/api/c/platforms", io.MultiReader()) // of unknown length, which is 0
		assert.Equal(t, http.StatusOK, sendRequest(t, chunked).status)
		requirePlatforms(t, store, 0)
	})

	for what, body := range map[string]string{
		"the largest id":             `{"id":2147483647,"name":"x"}`,
		"names in any case":          `{"ID":7,"nAmE":"x"}`,
		"extra fields of any type":   `{"id":7,"name":"x","publisher":5,"cost":null,"more":{"a":[1]}}`,
		"white space around":         " \r\n\t{\"id\":7,\"name\":\"x\"}\n",
		"a name of one NUL":          `{"id":7,"name":"\u0000"}`,
		"the last of a field's kind": `{"id":1,"name":"","id":7,"name":"x"}`,
	} {
		t.Run("accepts "+what, func(t *testing.T) {
			url, store, _ := serveAPI(t)
			assert.Equal(t, http.StatusOK, send(t, "POST", url+"/api/c/platforms", body).status)
			platforms, err := store.platforms(t.Context())
			require.NoError(t, err)
			assert.Len(t, platforms, 1)
		})
	}

	for _, id := range []string{"0", "-1", `"5"`, "1.5", "1.0", "1e3", "2147483648", "-2147483649",
		"99999999999999999999", "null", "true", "[1]", "{}"} {
		t.Run("refuses the id "+id, func(t *testing.T) {
			url, store, _ := serveAPI(t)
			requireProblem(t, send(t, "POST", url+"/api/c/platforms", `{"id":`+id+`,"name":"x"}`), http.StatusBadRequest, "id")
			requirePlatforms(t, store, 0)
		})
	}

	for body, fields := range map[string][]string{
		`{}`:                                 {"id", "name"},
		`null`:                               {"id", "name"},
		`{"name":"x"}`:                       {"id"},
		`{"id":4}`:                           {"name"},
		`{"id":4,"name":""}`:                 {"name"},
		`{"id":4,"name":" \t\n\u00a0"}`:      {"name"},
		`{"id":4,"name":null}`:               {"name"},
		`{"id":4,"name":5}`:                  {"name"},
		`{"id":4,"name":["x"]}`:              {"name"},
		`{"id":0,"name":" "}`:                {"id", "name"},
		`{"platformId":4,"platformName":""}`: {"id", "name"},
	} {
		t.Run("refuses "+body, func(t *testing.T) {
			url, store, _ := serveAPI(t)
			requireProblem(t, send(t, "POST", url+"/api/c/platforms", body), http.StatusBadRequest, fields...)
			requirePlatforms(t, store, 0)
		})
	}
}

// TestBounds: the limits are in characters, not in bytes.
func TestBounds(t *testing.T) {
	for _, row := range []struct {
		path, field string
		limit       int
		body        string // with a place for the text
	}{
		{"/api/c/platforms", "name", 500, `{"id":7,"name":"%s"}`},
		{"/api/c/platforms/4/commands", "howTo", 2000, `{"howTo":"%s","commandLine":"c"}`},
		{"/api/c/platforms/4/commands", "commandLine", 8000, `{"howTo":"h","commandLine":"%s"}`},
	} {
		t.Run(fmt.Sprintf("%s has at most %d characters", row.field, row.limit), func(t *testing.T) {
			url, store, _ := serveAPI(t)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			long := fmt.Sprintf(row.body, strings.Repeat("😀", row.limit+1))
			requireProblem(t, send(t, "POST", url+row.path, long), http.StatusBadRequest, row.field)
			longest := fmt.Sprintf(row.body, strings.Repeat("😀", row.limit))
			assert.Less(t, send(t, "POST", url+row.path, longest).status, 300)
		})
	}
}

func TestListPlatforms(t *testing.T) {
	url, store, _ := serveAPI(t)
	requireJSON(t, send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[]`)
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	requireJSON(t, send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"},{"id":9,"name":"y"}]`)
}

func TestCommands(t *testing.T) {
	url, store, _ := serveAPI(t)
	// Inside the store, their ids are 1 and 2. No client ever sees those.
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	const path = "/api/c/platforms/4/commands"
	requireJSON(t, send(t, "GET", url+path, ""), http.StatusOK, `[]`)

	created := send(t, "POST", url+path, `{"howTo":"build","commandLine":"go build ./..."}`)
	requireJSON(t, created, http.StatusCreated, `{"id":1,"howTo":"build","commandLine":"go build ./...","platformId":4}`)
	assert.Equal(t, path+"/1", created.header.Get("Location"))
	requireJSON(t, send(t, "GET", url+created.header.Get("Location"), ""), http.StatusOK, created.body)
	requireJSON(t, send(t, "GET", url+path, ""), http.StatusOK, "["+created.body+"]")

	t.Run("belong to one platform", func(t *testing.T) {
		requireJSON(t, send(t, "GET", url+"/api/c/platforms/9/commands", ""), http.StatusOK, `[]`)
		requireProblem(t, send(t, "GET", url+"/api/c/platforms/9/commands/1", ""), http.StatusNotFound)
	})
	t.Run("of an unknown platform are not found", func(t *testing.T) {
		for _, id := range []string{"1", "2", "5"} { // 1 and 2 exist inside the store
			requireProblem(t, send(t, "GET", url+"/api/c/platforms/"+id+"/commands", ""), http.StatusNotFound)
			requireProblem(t, send(t, "GET", url+"/api/c/platforms/"+id+"/commands/1", ""), http.StatusNotFound)
			requireProblem(t, send(t, "POST", url+"/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`), http.StatusNotFound)
		}
	})
	t.Run("that do not exist are not found", func(t *testing.T) {
		requireProblem(t, send(t, "GET", url+path+"/2", ""), http.StatusNotFound)
	})
	t.Run("are accepted with names in any case and extra fields", func(t *testing.T) {
		got := send(t, "POST", url+path, `{"HowTo":"h","COMMANDLINE":"c","id":77,"platformId":9,"more":[{}]}`)
		requireJSON(t, got, http.StatusCreated, `{"id":2,"howTo":"h","commandLine":"c","platformId":4}`)
	})

	for body, fields := range map[string][]string{
		``:                                nil,
		`{}`:                              {"commandLine", "howTo"},
		`null`:                            {"commandLine", "howTo"},
		`{"howTo":"h"}`:                   {"commandLine"},
		`{"commandLine":"c"}`:             {"howTo"},
		`{"howTo":"","commandLine":"c"}`:  {"howTo"},
		`{"howTo":"h","commandLine":" "}`: {"commandLine"},
		`{"howTo":null,"commandLine":""}`: {"commandLine", "howTo"},
		`{"howTo":5,"commandLine":"c"}`:   {"howTo"},
		`{"howTo":"h","commandLine":{}}`:  {"commandLine"},
	} {
		t.Run("are refused with the body "+body, func(t *testing.T) {
			// A body is validated before its platform is looked up.
			for _, id := range []string{"4", "5", "0", "99999999999999999999"} {
				requireProblem(t, send(t, "POST", url+"/api/c/platforms/"+id+"/commands", body), http.StatusBadRequest, fields...)
			}
			commands, err := store.commands(t.Context(), 4)
			require.NoError(t, err)
			assert.Len(t, commands, 2)
		})
	}
}

// postRoutes are the routes that read a body, each with one that it accepts
// when there is a platform 4.
func postRoutes() map[string]string {
	return map[string]string{
		"/api/c/platforms":            `{"id":4,"name":"x"}`,
		"/api/c/platforms/4/commands": `{"howTo":"h","commandLine":"c"}`,
	}
}

func TestPaths(t *testing.T) {
	// A platform 4 with a command 1.
	serveCommand := func(t *testing.T) string {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		return url
	}
	routes := map[string]string{ // path: Allow
		"/api/c/platforms":              "GET, HEAD, POST",
		"/api/c/platforms/4/commands":   "GET, HEAD, POST",
		"/api/c/platforms/4/commands/1": "GET, HEAD",
	}

	t.Run("a trailing slash changes nothing, and is no redirect", func(t *testing.T) {
		for path := range routes {
			url := serveCommand(t)
			without, with := send(t, "GET", url+path, ""), send(t, "GET", url+path+"/", "")
			assert.Equal(t, http.StatusOK, with.status)
			assert.Equal(t, without.body, with.body)
		}
		for path, body := range postRoutes() {
			url := serveCommand(t)
			without, with := send(t, "POST", url+path, body), send(t, "POST", url+path+"/", body)
			assert.Less(t, with.status, 300)
			assert.Equal(t, without.status, with.status)
		}
		created := send(t, "POST", serveCommand(t)+"/api/c/platforms/4/commands/", `{"howTo":"h","commandLine":"c"}`)
		assert.Equal(t, "/api/c/platforms/4/commands/2", created.header.Get("Location"))
	})

	t.Run("another method is a 405 that lists those allowed", func(t *testing.T) {
		url := serveCommand(t)
		for path, allow := range routes {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
				if strings.Contains(allow, method) {
					continue
				}
				for _, slash := range []string{"", "/"} {
					got := send(t, method, url+path+slash, "{}")
					requireProblem(t, got, http.StatusMethodNotAllowed)
					assert.Equal(t, allow, got.header.Get("Allow"))
				}
			}
		}
	})

	t.Run("HEAD is a GET without the body", func(t *testing.T) {
		url := serveCommand(t)
		for path := range routes {
			r := send(t, "HEAD", url+path, "")
			assert.Equal(t, http.StatusOK, r.status)
			assert.Equal(t, "application/json", r.header.Get("Content-Type"))
			assert.Empty(t, r.body)
		}
	})

	t.Run("an unknown path is a 404, and no redirect", func(t *testing.T) {
		url := serveCommand(t)
		for _, path := range []string{"/", "/api", "/api/c", "/api/platforms", "/api/c/platforms/4", "/api/c/platforms/4/commands/1/x",
			"/api/c/platforms//", "//api/c/platforms", "/api//c/platforms", "/api/c/platforms//commands",
			"/api/c/platforms/4/commands//", "/api/c/./platforms", "/api/c/x/../platforms", "/API/C/PLATFORMS", "/api/c/platforms%2F4%2Fx"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				got := send(t, method, url+path, `{"id":4,"name":"x"}`)
				requireProblem(t, got, http.StatusNotFound)
			}
		}
	})

	// Every place of an id in a path: the two methods of one and the other.
	places := map[string]func(t *testing.T, url, id string) response{
		"platformId": func(t *testing.T, url, id string) response {
			return send(t, "GET", url+"/api/c/platforms/"+id+"/commands", "")
		},
		"platformId of POST": func(t *testing.T, url, id string) response {
			return send(t, "POST", url+"/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`)
		},
		"platformId of a command": func(t *testing.T, url, id string) response {
			return send(t, "GET", url+"/api/c/platforms/"+id+"/commands/1", "")
		},
		"commandId": func(t *testing.T, url, id string) response {
			return send(t, "GET", url+"/api/c/platforms/4/commands/"+id, "")
		},
	}
	for place, get := range places {
		t.Run(place+" has to be an integer", func(t *testing.T) {
			url := serveCommand(t)
			field, _, _ := strings.Cut(place, " ")
			for _, id := range []string{"abc", "1.5", "1.0", "1e3", "0x1", "1_0", "4%20", "%20", "%00", "%2B", "-", "--1", "4,0", "%D9%A3", "4%22"} {
				requireProblem(t, get(t, url, id), http.StatusBadRequest, field)
			}
		})
		t.Run(place+" can be an unknown integer", func(t *testing.T) {
			url := serveCommand(t)
			for _, id := range []string{"0", "-0", "-1", "-4", "5", "2147483647", "2147483648", "-2147483649", "4294967300",
				"99999999999999999999", "-99999999999999999999", strings.Repeat("9", 2000)} {
				requireProblem(t, get(t, url, id), http.StatusNotFound)
			}
		})
	}
	t.Run("an id may have a sign and leading zeros", func(t *testing.T) {
		url := serveCommand(t)
		for _, path := range []string{"/api/c/platforms/+4/commands/1", "/api/c/platforms/4/commands/+1", "/api/c/platforms/04/commands/01"} {
			requireJSON(t, send(t, "GET", url+path, ""), http.StatusOK, `{"id":1,"howTo":"h","commandLine":"c","platformId":4}`)
		}
	})
}

func TestTexts(t *testing.T) {
	for what, text := range oddTexts() {
		t.Run(what+" is returned as sent", func(t *testing.T) {
			url, _, _ := serveAPI(t)
			quoted, err := json.Marshal(text)
			require.NoError(t, err)

			var platform struct{ Name string }
			decode(t, send(t, "POST", url+"/api/c/platforms", fmt.Sprintf(`{"id":4,"name":%s}`, quoted)), http.StatusOK, &platform)
			assert.True(t, platform.Name == text, "name")
			var platforms []struct{ Name string }
			decode(t, send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, &platforms)
			assert.True(t, len(platforms) == 1 && platforms[0].Name == text, "name in the list")

			var command struct{ HowTo, CommandLine string }
			created := send(t, "POST", url+"/api/c/platforms/4/commands", fmt.Sprintf(`{"howTo":%s,"commandLine":%[1]s}`, quoted))
			decode(t, created, http.StatusCreated, &command)
			assert.True(t, command.HowTo == text && command.CommandLine == text, "command")
			requireJSON(t, send(t, "GET", url+created.header.Get("Location"), ""), http.StatusOK, created.body)
		})
	}

	// Escapes that look like half a surrogate pair and are none.
	for escaped, text := range map[string]string{
		`\ud83d\ude80`:  "🚀",
		`\uD83D\uDE80x`: "🚀x",
		`\\ud83d`:       `\ud83d`,
		`\ud7ff\ue000`:  "\ud7ff\ue000",
		`\"\/\b\f`:      "\"/\b\f",
	} {
		t.Run(escaped+" is "+text, func(t *testing.T) {
			url, _, _ := serveAPI(t)
			var platform struct{ Name string }
			decode(t, send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"`+escaped+`"}`), http.StatusOK, &platform)
			assert.Equal(t, text, platform.Name)
		})
	}
}

func TestStoreFailure(t *testing.T) {
	for _, request := range []struct{ method, path, body string }{
		{"GET", "/api/c/platforms", ""},
		{"POST", "/api/c/platforms", `{"id":4,"name":"x"}`},
		{"GET", "/api/c/platforms/4/commands", ""},
		{"POST", "/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`},
		{"GET", "/api/c/platforms/4/commands/1", ""},
	} {
		t.Run(request.method+" "+request.path+" is a 500 without details, logged once", func(t *testing.T) {
			url, store, logged := serveAPI(t)
			require.NoError(t, store.close())
			got := send(t, request.method, url+request.path, request.body)
			requireProblem(t, got, http.StatusInternalServerError)
			assert.NotContains(t, got.body, "sql")
			assert.NotContains(t, got.body, "closed")
			assert.Len(t, logged.lines(""), 1)
			assert.Len(t, logged.lines("database is closed"), 1)
		})
	}
}

// TestClientDisconnects: the client closes its side of the connection while the
// store is busy with its request.
func TestClientDisconnects(t *testing.T) {
	serveBusy := func(t *testing.T) (api http.Handler, store commandStore, logged *logCapture) {
		store = memoryStore(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		log, logged := captureLog()
		return (&restAPI{store: store, log: log}).handler(), store, logged
	}

	for _, path := range []string{"/api/c/platforms", "/api/c/platforms/4/commands", "/api/c/platforms/4/commands/1"} {
		t.Run("GET "+path+" is abandoned, without a response and without an error in the log", func(t *testing.T) {
			api, store, logged := serveBusy(t)
			assert.Empty(t, sendAndDisconnect(t, api, store, "GET", path, ""))
			assert.Len(t, logged.lines("client disconnected"), 1)
			assert.Len(t, logged.lines("level=DEBUG"), 1)
			assert.Len(t, logged.lines(""), 1)
		})
	}

	t.Run("the POST of a command is completed", func(t *testing.T) {
		api, store, _ := serveBusy(t)
		got := sendAndDisconnect(t, api, store, "POST", "/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`)
		assert.Contains(t, got, "201 Created")
		commands, err := store.commands(t.Context(), 4)
		require.NoError(t, err)
		assert.Len(t, commands, 2)
	})

	t.Run("the POST of a platform is completed", func(t *testing.T) {
		api, store, _ := serveBusy(t)
		got := sendAndDisconnect(t, api, store, "POST", "/api/c/platforms", `{"id":5,"name":"y"}`)
		assert.Contains(t, got, "200 OK")
		assert.Contains(t, got, `{"id":5,"name":"y"}`)
		requirePlatforms(t, store, 2)
	})

	t.Run("a POST that fails has its error in the log", func(t *testing.T) {
		api, store, logged := serveBusy(t)
		_, err := store.(*sqliteStore).db.Exec(`DROP TABLE commands`)
		require.NoError(t, err)
		got := sendAndDisconnect(t, api, store, "POST", "/api/c/platforms/4/commands", `{"howTo":"h","commandLine":"c"}`)
		assert.Contains(t, got, "500 Internal Server Error")
		assert.Len(t, logged.lines("request failed"), 1)
	})
}

// sendAndDisconnect sends a request to api while store, which is in memory, is
// busy, closes the client's side of the connection, and returns what the server
// sends after it has noticed.
func sendAndDisconnect(t *testing.T, api http.Handler, store commandStore, method, path, body string) string {
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

// serveAPI serves the REST API over an empty store.
func serveAPI(t testing.TB) (url string, store commandStore, logged *logCapture) {
	t.Helper()
	store = memoryStore(t)
	log, logged := captureLog()
	return serve(t, (&restAPI{store: store, log: log}).handler()), store, logged
}

// decode reads a response of JSON.
func decode(t testing.TB, got response, status int, into any) {
	t.Helper()
	require.Equal(t, status, got.status)
	require.NoError(t, json.Unmarshal([]byte(got.body), into))
}

func requirePlatforms(t testing.TB, store commandStore, count int) {
	t.Helper()
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Len(t, platforms, count)
}
