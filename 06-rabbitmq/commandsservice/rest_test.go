package commandsservice

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The body that the .NET PlatformService sends, as recorded.
const recordedPost = `{"Id":1,"Name":"Dot Net","Publisher":"Microsoft","Cost":"Free"}`

func TestReceivePlatform(t *testing.T) {
	t.Run("answers 200 and stores the platform", func(t *testing.T) {
		api, _, logged := newAPI(t)
		got := call(api, "POST", "/api/c/platforms", `{"id":4,"name":"x"}`)
		wantJSON(t, got, http.StatusOK, `{"id":4,"name":"x"}`)
		wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
		assert.Len(t, logged.lines("platform received by HTTP"), 1)
	})

	t.Run("accepts what the .NET service sends", func(t *testing.T) {
		api, _, _ := newAPI(t)
		wantJSON(t, call(api, "POST", "/api/c/platforms/", recordedPost), http.StatusOK, `{"id":1,"name":"Dot Net"}`)
	})

	t.Run("a known platform keeps its name", func(t *testing.T) {
		api, _, _ := newAPI(t)
		call(api, "POST", "/api/c/platforms", `{"id":4,"name":"first"}`)
		got := call(api, "POST", "/api/c/platforms", `{"id":4,"name":"second"}`)
		wantJSON(t, got, http.StatusOK, `{"id":4,"name":"first"}`)
		wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"first"}]`)
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
			api, store, _ := newAPI(t)
			assert.Equal(t, http.StatusOK, call(api, "POST", "/api/c/platforms", body).status)
			platforms, err := store.platforms(t.Context())
			require.NoError(t, err)
			assert.Len(t, platforms, 1)
		})
	}

	for _, id := range []string{"0", "-1", `"5"`, "1.5", "1.0", "1e3", "2147483648", "-2147483649",
		"99999999999999999999", "null", "true", "[1]", "{}"} {
		t.Run("refuses the id "+id, func(t *testing.T) {
			api, store, _ := newAPI(t)
			wantProblem(t, call(api, "POST", "/api/c/platforms", `{"id":`+id+`,"name":"x"}`), http.StatusBadRequest, "id")
			wantPlatforms(t, store, 0)
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
			api, store, _ := newAPI(t)
			wantProblem(t, call(api, "POST", "/api/c/platforms", body), http.StatusBadRequest, fields...)
			wantPlatforms(t, store, 0)
		})
	}
}

func TestListPlatforms(t *testing.T) {
	api, store, _ := newAPI(t)
	wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, `[]`)
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	wantJSON(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"},{"id":9,"name":"y"}]`)
}

func TestCommands(t *testing.T) {
	api, store, _ := newAPI(t)
	// The store's own ids of these are 1 and 2; nobody outside sees them.
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	const path = "/api/c/platforms/4/commands"
	wantJSON(t, call(api, "GET", path, ""), http.StatusOK, `[]`)

	created := call(api, "POST", path, `{"howTo":"build","commandLine":"go build ./..."}`)
	wantJSON(t, created, http.StatusCreated, `{"id":1,"howTo":"build","commandLine":"go build ./...","platformId":4}`)
	assert.Equal(t, path+"/1", created.header.Get("Location"))
	wantJSON(t, call(api, "GET", created.header.Get("Location"), ""), http.StatusOK, created.body)
	wantJSON(t, call(api, "GET", path, ""), http.StatusOK, "["+created.body+"]")

	t.Run("belong to one platform", func(t *testing.T) {
		wantJSON(t, call(api, "GET", "/api/c/platforms/9/commands", ""), http.StatusOK, `[]`)
		wantProblem(t, call(api, "GET", "/api/c/platforms/9/commands/1", ""), http.StatusNotFound)
	})
	t.Run("of an unknown platform are a 404", func(t *testing.T) {
		for _, id := range []string{"1", "2", "5"} { // 1 and 2 exist inside the store
			wantProblem(t, call(api, "GET", "/api/c/platforms/"+id+"/commands", ""), http.StatusNotFound)
			wantProblem(t, call(api, "GET", "/api/c/platforms/"+id+"/commands/1", ""), http.StatusNotFound)
			wantProblem(t, call(api, "POST", "/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`), http.StatusNotFound)
		}
	})
	t.Run("that are not there are a 404", func(t *testing.T) {
		wantProblem(t, call(api, "GET", path+"/2", ""), http.StatusNotFound)
	})
	t.Run("are accepted with names in any case and extra fields", func(t *testing.T) {
		got := call(api, "POST", path, `{"HowTo":"h","COMMANDLINE":"c","id":77,"platformId":9,"more":[{}]}`)
		wantJSON(t, got, http.StatusCreated, `{"id":2,"howTo":"h","commandLine":"c","platformId":4}`)
	})

	for body, fields := range map[string][]string{
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
				wantProblem(t, call(api, "POST", "/api/c/platforms/"+id+"/commands", body), http.StatusBadRequest, fields...)
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

func TestBodies(t *testing.T) {
	for route, valid := range postRoutes() {
		for what, body := range map[string]string{
			"nothing":              "",
			"white space":          " \n",
			"what is no JSON":      "id=4&name=x",
			"a cut off object":     valid[:len(valid)-1],
			"trailing data":        valid + "x",
			"two objects":          valid + valid,
			"a trailing comma":     strings.TrimSuffix(valid, "}") + ",}",
			"a comment":            "/* */" + valid,
			"single quotes":        strings.ReplaceAll(valid, `"`, `'`),
			"a byte order mark":    "\ufeff" + valid,
			"an array":             "[" + valid + "]",
			"a string":             `"text"`,
			"a number":             "5",
			"true":                 "true",
			"a raw line break":     strings.Replace(valid, `":"`, "\":\"\n", 1),
			"a raw NUL":            strings.Replace(valid, `":"`, "\":\"\x00", 1),
			"a bad escape":         strings.Replace(valid, `":"`, `":"\x41`, 1),
			"invalid UTF-8":        strings.Replace(valid, `":"`, "\":\"\xff", 1),
			"cut off UTF-8":        strings.Replace(valid, `":"`, "\":\"\xe2\x82", 1),
			"a UTF-8 surrogate":    strings.Replace(valid, `":"`, "\":\"\xed\xa0\x80", 1),
			"a high surrogate":     strings.Replace(valid, `":"`, `":"\ud83d`, 1),
			"a low surrogate":      strings.Replace(valid, `":"`, `":"\ude80`, 1),
			"surrogates exchanged": strings.Replace(valid, `":"`, `":"\ude80\ud83d`, 1),
			"two high surrogates":  strings.Replace(valid, `":"`, `":"\uD83D\uD83D`, 1),
			"two low surrogates":   strings.Replace(valid, `":"`, `":"\ude80\ude80`, 1),
			"half a second escape": strings.Replace(valid, `":"`, `":"\ud83d\u00`, 1),
			"a surrogate in a key": strings.Replace(valid, `{"`, `{"\ud83d":1,"`, 1),
			"a surrogate at last":  strings.Replace(valid, `"}`, `\ud83d"}`, 1),
			"a very deep array":    strings.Repeat("[", 100_000),
		} {
			t.Run(route+" refuses "+what, func(t *testing.T) {
				api, store, _ := newAPI(t)
				addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
				wantProblem(t, call(api, "POST", route, body), http.StatusBadRequest)
				wantPlatforms(t, store, 1)
				commands, err := store.commands(t.Context(), 4)
				require.NoError(t, err)
				assert.Empty(t, commands)
			})
		}

		t.Run(route+" takes JSON only", func(t *testing.T) {
			api, store, _ := newAPI(t)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			for contentType, accepted := range map[string]bool{
				"application/json":                     true,
				"Application/JSON":                     true,
				"application/json; charset=utf-8":      true,
				`application/json;charset="UTF-8"`:     true,
				"text/json":                            true,
				"application/vnd.api+json":             true,
				"":                                     false,
				"text/plain":                           false,
				"application/x-www-form-urlencoded":    false,
				"multipart/form-data; boundary=x":      false,
				"application/jsonp":                    false,
				"text/html+json":                       false,
				"application/json; charset=iso-8859-1": false,
				"application/json, application/json":   false,
				"json":                                 false,
			} {
				got := call(api, "POST", route, valid, "Content-Type", contentType)
				if accepted {
					assert.Less(t, got.status, 300, contentType)
				} else {
					wantProblem(t, got, http.StatusUnsupportedMediaType)
				}
			}
		})

		t.Run(route+" takes a body of 1 MiB and no byte more", func(t *testing.T) {
			api, store, _ := newAPI(t)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			server := httptest.NewServer(api)
			defer server.Close()
			largest := strings.TrimSuffix(valid, `"}`)
			largest += strings.Repeat("a", 1<<20-len(largest)-2) + `"}`
			for _, chunked := range []bool{false, true} {
				assert.Less(t, post(t, server, route, largest, chunked).status, 300)
				wantProblem(t, post(t, server, route, largest+" ", chunked), http.StatusRequestEntityTooLarge)
			}
		})
	}
}

// post sends a body over the network: with its length said first, or in chunks
// and without.
func post(t *testing.T, server *httptest.Server, path, body string, chunked bool) answer {
	t.Helper()
	var reader io.Reader = strings.NewReader(body)
	if chunked {
		reader = struct{ io.Reader }{reader} // net/http cannot tell its length
	}
	response, err := server.Client().Post(server.URL+path, "application/json", reader)
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(text)}
}

func TestPaths(t *testing.T) {
	// A platform 4 with a command 1.
	newAPI := func(t *testing.T) http.Handler {
		api, store, _ := newAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: 4})
		return api
	}
	routes := map[string]string{ // path: Allow
		"/api/c/platforms":              "GET, HEAD, POST",
		"/api/c/platforms/4/commands":   "GET, HEAD, POST",
		"/api/c/platforms/4/commands/1": "GET, HEAD",
	}

	t.Run("a trailing slash changes nothing, and is no redirect", func(t *testing.T) {
		for path := range routes {
			api := newAPI(t)
			without, with := call(api, "GET", path, ""), call(api, "GET", path+"/", "")
			assert.Equal(t, http.StatusOK, with.status)
			assert.Equal(t, without.body, with.body)
		}
		for path, body := range postRoutes() {
			api := newAPI(t)
			without, with := call(api, "POST", path, body), call(api, "POST", path+"/", body)
			assert.Less(t, with.status, 300)
			assert.Equal(t, without.status, with.status)
		}
		created := call(newAPI(t), "POST", "/api/c/platforms/4/commands/", `{"howTo":"h","commandLine":"c"}`)
		assert.Equal(t, "/api/c/platforms/4/commands/2", created.header.Get("Location"))
	})

	t.Run("another method is a 405 that says what is allowed", func(t *testing.T) {
		api := newAPI(t)
		for path, allow := range routes {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
				if strings.Contains(allow, method) {
					continue
				}
				for _, slash := range []string{"", "/"} {
					got := call(api, method, path+slash, "{}")
					wantProblem(t, got, http.StatusMethodNotAllowed)
					assert.Equal(t, allow, got.header.Get("Allow"))
				}
			}
		}
	})

	t.Run("HEAD is answered as GET, without the body", func(t *testing.T) {
		server := httptest.NewServer(newAPI(t))
		defer server.Close()
		for path := range routes {
			response, err := server.Client().Head(server.URL + path)
			require.NoError(t, err)
			defer response.Body.Close()
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.Equal(t, "application/json", response.Header.Get("Content-Type"))
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Empty(t, body)
		}
	})

	t.Run("what is not there is a 404, and no redirect", func(t *testing.T) {
		api := newAPI(t)
		for _, path := range []string{"/", "/api", "/api/c", "/api/platforms", "/api/c/platforms/4", "/api/c/platforms/4/commands/1/x",
			"/api/c/platforms//", "//api/c/platforms", "/api//c/platforms", "/api/c/platforms//commands",
			"/api/c/platforms/4/commands//", "/api/c/./platforms", "/api/c/x/../platforms", "/API/C/PLATFORMS", "/api/c/platforms%2F4%2Fx"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				got := call(api, method, path, `{"id":4,"name":"x"}`)
				wantProblem(t, got, http.StatusNotFound)
			}
		}
	})

	// Every place of an id in a path: the two methods of one and the other.
	places := map[string]func(api http.Handler, id string) answer{
		"platformId": func(api http.Handler, id string) answer {
			return call(api, "GET", "/api/c/platforms/"+id+"/commands", "")
		},
		"platformId of POST": func(api http.Handler, id string) answer {
			return call(api, "POST", "/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`)
		},
		"platformId of a command": func(api http.Handler, id string) answer {
			return call(api, "GET", "/api/c/platforms/"+id+"/commands/1", "")
		},
		"commandId": func(api http.Handler, id string) answer {
			return call(api, "GET", "/api/c/platforms/4/commands/"+id, "")
		},
	}
	for place, get := range places {
		t.Run(place+" has to be an integer", func(t *testing.T) {
			api := newAPI(t)
			field, _, _ := strings.Cut(place, " ")
			for _, id := range []string{"abc", "1.5", "1.0", "1e3", "0x1", "1_0", "4%20", "%20", "%00", "%2B", "-", "--1", "4,0", "%D9%A3", "4%22"} {
				wantProblem(t, get(api, id), http.StatusBadRequest, field)
			}
		})
		t.Run(place+" can be an integer that nobody has", func(t *testing.T) {
			api := newAPI(t)
			for _, id := range []string{"0", "-0", "-1", "-4", "5", "2147483647", "2147483648", "-2147483649", "4294967300",
				"99999999999999999999", "-99999999999999999999", strings.Repeat("9", 2000)} {
				wantProblem(t, get(api, id), http.StatusNotFound)
			}
		})
	}
	t.Run("an id may have a sign and leading zeros", func(t *testing.T) {
		api := newAPI(t)
		for _, path := range []string{"/api/c/platforms/+4/commands/1", "/api/c/platforms/4/commands/+1", "/api/c/platforms/04/commands/01"} {
			wantJSON(t, call(api, "GET", path, ""), http.StatusOK, `{"id":1,"howTo":"h","commandLine":"c","platformId":4}`)
		}
	})
}

func TestTexts(t *testing.T) {
	for what, text := range oddTexts() {
		t.Run(what+" comes back as sent", func(t *testing.T) {
			api, _, _ := newAPI(t)
			quoted, err := json.Marshal(text)
			require.NoError(t, err)

			var platform struct{ Name string }
			decode(t, call(api, "POST", "/api/c/platforms", fmt.Sprintf(`{"id":4,"name":%s}`, quoted)), http.StatusOK, &platform)
			assert.True(t, platform.Name == text, "name")
			var platforms []struct{ Name string }
			decode(t, call(api, "GET", "/api/c/platforms", ""), http.StatusOK, &platforms)
			assert.True(t, len(platforms) == 1 && platforms[0].Name == text, "name in the list")

			var command struct{ HowTo, CommandLine string }
			created := call(api, "POST", "/api/c/platforms/4/commands", fmt.Sprintf(`{"howTo":%s,"commandLine":%[1]s}`, quoted))
			decode(t, created, http.StatusCreated, &command)
			assert.True(t, command.HowTo == text && command.CommandLine == text, "command")
			wantJSON(t, call(api, "GET", created.header.Get("Location"), ""), http.StatusOK, created.body)
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
			api, _, _ := newAPI(t)
			var platform struct{ Name string }
			decode(t, call(api, "POST", "/api/c/platforms", `{"id":4,"name":"`+escaped+`"}`), http.StatusOK, &platform)
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
		t.Run(request.method+" "+request.path+" is a 500 that tells nothing, and one line in the log", func(t *testing.T) {
			api, store, logged := newAPI(t)
			require.NoError(t, store.close())
			got := call(api, request.method, request.path, request.body)
			wantProblem(t, got, http.StatusInternalServerError)
			assert.NotContains(t, got.body, "sql")
			assert.NotContains(t, got.body, "closed")
			assert.Len(t, logged.lines(""), 1)
			assert.Len(t, logged.lines("database is closed"), 1)
		})
	}
}

func FuzzReceivePlatform(f *testing.F) {
	for _, body := range randomBodies(`{"id":4,"name":"x"}`, recordedPost, `{"id":4,"name":"\ud83d\ude80"}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		api, _, _ := newAPI(t)
		got := call(api, "POST", "/api/c/platforms", string(body))
		list := call(api, "GET", "/api/c/platforms", "")
		if got.status == http.StatusOK {
			wantJSON(t, list, http.StatusOK, "["+got.body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.status)
		wantJSON(t, list, http.StatusOK, "[]")
	})
}

func FuzzCreateCommand(f *testing.F) {
	for _, body := range randomBodies(`{"howTo":"h","commandLine":"c"}`, `{"HowTo":"\u0000","CommandLine":"a \\ b","x":[1,{}]}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		api, store, _ := newAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		got := call(api, "POST", "/api/c/platforms/4/commands", string(body))
		list := call(api, "GET", "/api/c/platforms/4/commands", "")
		if got.status == http.StatusCreated {
			wantJSON(t, call(api, "GET", got.header.Get("Location"), ""), http.StatusOK, got.body)
			wantJSON(t, list, http.StatusOK, "["+got.body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.status)
		wantJSON(t, list, http.StatusOK, "[]")
	})
}

// randomBodies returns 200 bodies, the same each time: the valid ones, what
// comes of damaging them, and noise.
func randomBodies(valid ...string) [][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	pieces := []string{`"`, `{`, `}`, `[[`, `,`, `:`, `\`, `\u0000`, `\ud83d`, `\ude80`, `\"`, "\xff", "\xe2\x82", "\x00", "🚀", " ",
		"null", "true", "1e999", "-0", "2147483648", "99999999999999999999", `"id":`, `"howTo":`, `"name":{}`, strings.Repeat("a", 3000)}
	var bodies [][]byte
	for _, body := range valid {
		bodies = append(bodies, []byte(body))
	}
	for len(bodies) < 200 {
		body := []byte(valid[random.IntN(len(valid))])
		for range 1 + random.IntN(3) {
			at := random.IntN(len(body) + 1)
			switch random.IntN(5) {
			case 0: // put something in
				body = slices.Insert(body, at, []byte(pieces[random.IntN(len(pieces))])...)
			case 1: // take something out
				body = slices.Delete(body, at, min(at+1+random.IntN(4), len(body)))
			case 2: // change one byte
				body = append(body[:at:at], append([]byte{byte(random.Uint32())}, body[min(at+1, len(body)):]...)...)
			case 3: // cut it off, or double it
				body = slices.Concat(body[:at], body[:at*random.IntN(2)])
			case 4: // forget it
				body = make([]byte, random.IntN(64))
				for i := range body {
					body[i] = byte(random.Uint32())
				}
			}
		}
		bodies = append(bodies, body)
	}
	return bodies
}

// newAPI returns a REST API with an empty store, the store, and the API's log.
func newAPI(t testing.TB) (http.Handler, commandStore, *logCapture) {
	t.Helper()
	store := memoryStore(t)
	log, logged := captureLog()
	return (&restAPI{store: store, log: log}).handler(), store, logged
}

type answer struct {
	status int
	header http.Header
	body   string
}

// call sends one request, as JSON unless header, name and value in turn, says
// otherwise.
func call(handler http.Handler, method, path, body string, header ...string) answer {
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, request)
	return answer{recorder.Code, recorder.Header(), recorder.Body.String()}
}

func wantJSON(t testing.TB, got answer, status int, body string) {
	t.Helper()
	require.Equal(t, status, got.status, got.body)
	require.Equal(t, "application/json", got.header.Get("Content-Type"))
	require.JSONEq(t, body, got.body)
}

// decode reads a JSON answer.
func decode(t testing.TB, got answer, status int, into any) {
	t.Helper()
	require.Equal(t, status, got.status)
	require.NoError(t, json.Unmarshal([]byte(got.body), into))
}

// wantProblem wants problem+json with all its members, and with errors for
// these fields, in the order of the alphabet, and no others. Without any fields
// nothing is said about errors.
func wantProblem(t testing.TB, got answer, status int, fields ...string) {
	t.Helper()
	require.Equal(t, status, got.status, got.body)
	require.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
	var p map[string]any
	require.NoError(t, json.Unmarshal([]byte(got.body), &p), got.body)
	assert.Equal(t, "about:blank", p["type"])
	assert.Equal(t, http.StatusText(status), p["title"])
	assert.EqualValues(t, status, p["status"])
	assert.NotEmpty(t, p["detail"])
	if len(fields) > 0 {
		errors, _ := p["errors"].(map[string]any)
		assert.Equal(t, fields, slices.Sorted(maps.Keys(errors)), got.body)
		for _, messages := range errors {
			assert.NotEmpty(t, messages)
		}
	}
}

func wantPlatforms(t testing.TB, store commandStore, count int) {
	t.Helper()
	platforms, err := store.platforms(t.Context())
	require.NoError(t, err)
	assert.Len(t, platforms, count)
}
