package commandsservice

import (
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// The body that the .NET PlatformService sends.
const recordedPost = `{"Id":1,"Name":"Dot Net","Publisher":"Microsoft","Cost":"Free"}`

func TestReceivePlatform(t *testing.T) {
	t.Run("returns 200 and stores the platform", func(t *testing.T) {
		url, _, logged := serveAPI(t)
		got := testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"x"}`)
		testkit.RequireJSON(t, got, http.StatusOK, `{"id":4,"name":"x"}`)
		testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
		assert.Len(t, logged.Lines("platform received by HTTP"), 1)
	})

	t.Run("accepts what the .NET service sends", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		testkit.RequireJSON(t, testkit.Send(t, "POST", url+"/api/c/platforms/", recordedPost), http.StatusOK, `{"id":1,"name":"Dot Net"}`)
	})

	t.Run("a known platform keeps its name", func(t *testing.T) {
		url, _, _ := serveAPI(t)
		testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"first"}`)
		got := testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"second"}`)
		testkit.RequireJSON(t, got, http.StatusOK, `{"id":4,"name":"first"}`)
		testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"first"}]`)
	})

	t.Run("an empty body only tests the connection", func(t *testing.T) {
		url, store, _ := serveAPI(t)
		for _, header := range [][]string{nil, {"Content-Type", ""}, {"Content-Type", "text/plain"}, {"Content-Encoding", "gzip"}} {
			for _, path := range []string{"/api/c/platforms", "/api/c/platforms/"} {
				assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+path, "", header...).Status)
			}
		}
		chunked := testkit.NewRequest(t, "POST", url+"/api/c/platforms", io.MultiReader()) // of unknown length, which is 0
		assert.Equal(t, http.StatusOK, testkit.SendRequest(t, chunked).Status)
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
			assert.Equal(t, http.StatusOK, testkit.Send(t, "POST", url+"/api/c/platforms", body).Status)
			platforms, err := allPlatforms(t.Context(), store)
			require.NoError(t, err)
			assert.Len(t, platforms, 1)
		})
	}

	for _, id := range []string{"0", "-1", `"5"`, "1.5", "1.0", "1e3", "2147483648", "-2147483649",
		"99999999999999999999", "null", "true", "[1]", "{}"} {
		t.Run("refuses the id "+id, func(t *testing.T) {
			url, store, _ := serveAPI(t)
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":`+id+`,"name":"x"}`), http.StatusBadRequest, "id")
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
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/c/platforms", body), http.StatusBadRequest, fields...)
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
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+row.path, long), http.StatusBadRequest, row.field)
			longest := fmt.Sprintf(row.body, strings.Repeat("😀", row.limit))
			assert.Less(t, testkit.Send(t, "POST", url+row.path, longest).Status, 300)
		})
	}
}

func TestListPlatforms(t *testing.T) {
	url, store, _ := serveAPI(t)
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[]`)
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"},{"id":9,"name":"y"}]`)
	r := testkit.Send(t, "GET", url+"/api/c/platforms?limit=1", "")
	testkit.RequireJSON(t, r, http.StatusOK, `[{"id":4,"name":"x"}]`)
	assert.Equal(t, `</api/c/platforms?limit=1&after=4>; rel="next"`, r.Header.Get("Link"))
	r = testkit.Send(t, "GET", url+"/api/c/platforms?limit=1&after=4", "")
	testkit.RequireJSON(t, r, http.StatusOK, `[{"id":9,"name":"y"}]`)
	assert.Empty(t, r.Header.Get("Link"))
}

func TestListCommands(t *testing.T) {
	url, store, _ := serveAPI(t)
	addPlatforms(t, store, platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"})
	list := url + "/api/c/platforms/4/commands"
	testkit.RequireJSON(t, testkit.Send(t, "GET", list, ""), http.StatusOK, `[]`)
	for _, id := range []int32{4, 5, 4} {
		createCommand(t, store, command{HowTo: "h", CommandLine: "c", PlatformID: id})
	}
	const first = `{"id":1,"howTo":"h","commandLine":"c","platformId":4}`
	const second = `{"id":3,"howTo":"h","commandLine":"c","platformId":4}`
	assert.Equal(t, "["+first+","+second+"]\n", testkit.Send(t, "GET", list, "").Body)
	r := testkit.Send(t, "GET", list+"?limit=1", "")
	testkit.RequireJSON(t, r, http.StatusOK, "["+first+"]")
	assert.Equal(t, `</api/c/platforms/4/commands?limit=1&after=1>; rel="next"`, r.Header.Get("Link"))
	r = testkit.Send(t, "GET", list+"?limit=1&after=1", "")
	testkit.RequireJSON(t, r, http.StatusOK, "["+second+"]")
	assert.Empty(t, r.Header.Get("Link"))
	testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms/6/commands?limit=1", ""), http.StatusNotFound)
	testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms/6/commands?limit=0", ""), http.StatusBadRequest, "limit")
}

func TestCommands(t *testing.T) {
	url, store, _ := serveAPI(t)
	// Inside the store, their ids are 1 and 2. No client ever sees those.
	addPlatforms(t, store, platform{ExternalID: 9, Name: "y"}, platform{ExternalID: 4, Name: "x"})
	const path = "/api/c/platforms/4/commands"
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+path, ""), http.StatusOK, `[]`)

	created := testkit.Send(t, "POST", url+path, `{"howTo":"build","commandLine":"go build ./..."}`)
	testkit.RequireJSON(t, created, http.StatusCreated, `{"id":1,"howTo":"build","commandLine":"go build ./...","platformId":4}`)
	assert.Equal(t, path+"/1", created.Header.Get("Location"))
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+created.Header.Get("Location"), ""), http.StatusOK, created.Body)
	testkit.RequireJSON(t, testkit.Send(t, "GET", url+path, ""), http.StatusOK, "["+created.Body+"]")

	t.Run("belong to one platform", func(t *testing.T) {
		testkit.RequireJSON(t, testkit.Send(t, "GET", url+"/api/c/platforms/9/commands", ""), http.StatusOK, `[]`)
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms/9/commands/1", ""), http.StatusNotFound)
	})
	t.Run("of an unknown platform are not found", func(t *testing.T) {
		for _, id := range []string{"1", "2", "5"} { // 1 and 2 exist inside the store
			testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms/"+id+"/commands", ""), http.StatusNotFound)
			testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/c/platforms/"+id+"/commands/1", ""), http.StatusNotFound)
			testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`), http.StatusNotFound)
		}
	})
	t.Run("that do not exist are not found", func(t *testing.T) {
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+path+"/2", ""), http.StatusNotFound)
	})
	t.Run("are accepted with names in any case and extra fields", func(t *testing.T) {
		got := testkit.Send(t, "POST", url+path, `{"HowTo":"h","COMMANDLINE":"c","id":77,"platformId":9,"more":[{}]}`)
		testkit.RequireJSON(t, got, http.StatusCreated, `{"id":2,"howTo":"h","commandLine":"c","platformId":4}`)
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
				testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/c/platforms/"+id+"/commands", body), http.StatusBadRequest, fields...)
			}
			commands, err := allCommands(t.Context(), store, 4)
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
			if route == "/api/c/platforms" && body == "" {
				continue // this is how a client tests the connection
			}
			t.Run(route+" refuses "+what, func(t *testing.T) {
				url, store, _ := serveAPI(t)
				addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
				testkit.RequireProblem(t, testkit.Send(t, "POST", url+route, body), http.StatusBadRequest)
				requirePlatforms(t, store, 1)
				commands, err := allCommands(t.Context(), store, 4)
				require.NoError(t, err)
				assert.Empty(t, commands)
			})
		}

		t.Run(route+" accepts only JSON", func(t *testing.T) {
			url, store, _ := serveAPI(t)
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
				got := testkit.Send(t, "POST", url+route, valid, "Content-Type", contentType)
				if accepted {
					assert.Less(t, got.Status, 300, contentType)
				} else {
					testkit.RequireProblem(t, got, http.StatusUnsupportedMediaType)
				}
			}
		})

		t.Run(route+" accepts a body of 1 MiB and not a byte more", func(t *testing.T) {
			url, store, _ := serveAPI(t)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			largest := strings.TrimSuffix(valid, "}") + `,"other":"`
			largest += strings.Repeat("a", web.MaxBody-len(largest)-2) + `"}`
			for _, body := range []string{largest, largest + " "} {
				sized := testkit.NewRequest(t, "POST", url+route, strings.NewReader(body))
				chunked := testkit.NewRequest(t, "POST", url+route, io.MultiReader(strings.NewReader(body))) // of unknown length
				for _, request := range []*http.Request{sized, chunked} {
					r := testkit.SendRequest(t, request)
					if body == largest {
						assert.Less(t, r.Status, 300)
					} else {
						testkit.RequireProblem(t, r, http.StatusRequestEntityTooLarge)
					}
				}
			}
		})
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
			without, with := testkit.Send(t, "GET", url+path, ""), testkit.Send(t, "GET", url+path+"/", "")
			assert.Equal(t, http.StatusOK, with.Status)
			assert.Equal(t, without.Body, with.Body)
		}
		for path, body := range postRoutes() {
			url := serveCommand(t)
			without, with := testkit.Send(t, "POST", url+path, body), testkit.Send(t, "POST", url+path+"/", body)
			assert.Less(t, with.Status, 300)
			assert.Equal(t, without.Status, with.Status)
		}
		created := testkit.Send(t, "POST", serveCommand(t)+"/api/c/platforms/4/commands/", `{"howTo":"h","commandLine":"c"}`)
		assert.Equal(t, "/api/c/platforms/4/commands/2", created.Header.Get("Location"))
	})

	t.Run("another method is a 405 that lists those allowed", func(t *testing.T) {
		url := serveCommand(t)
		for path, allow := range routes {
			for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
				if strings.Contains(allow, method) {
					continue
				}
				for _, slash := range []string{"", "/"} {
					got := testkit.Send(t, method, url+path+slash, "{}")
					testkit.RequireProblem(t, got, http.StatusMethodNotAllowed)
					assert.Equal(t, allow, got.Header.Get("Allow"))
				}
			}
		}
	})

	t.Run("HEAD is a GET without the body", func(t *testing.T) {
		url := serveCommand(t)
		for path := range routes {
			r := testkit.Send(t, "HEAD", url+path, "")
			assert.Equal(t, http.StatusOK, r.Status)
			assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
			assert.Empty(t, r.Body)
		}
	})

	t.Run("an unknown path is a 404, and no redirect", func(t *testing.T) {
		url := serveCommand(t)
		for _, path := range []string{"/", "/api", "/api/c", "/api/platforms", "/api/c/platforms/4", "/api/c/platforms/4/commands/1/x",
			"/api/c/platforms//", "//api/c/platforms", "/api//c/platforms", "/api/c/platforms//commands",
			"/api/c/platforms/4/commands//", "/api/c/./platforms", "/api/c/x/../platforms", "/API/C/PLATFORMS", "/api/c/platforms%2F4%2Fx"} {
			for _, method := range []string{"GET", "POST", "DELETE"} {
				got := testkit.Send(t, method, url+path, `{"id":4,"name":"x"}`)
				testkit.RequireProblem(t, got, http.StatusNotFound)
			}
		}
	})

	// Every place of an id in a path: the two methods of one and the other.
	places := map[string]func(t *testing.T, url, id string) testkit.Response{
		"platformId": func(t *testing.T, url, id string) testkit.Response {
			return testkit.Send(t, "GET", url+"/api/c/platforms/"+id+"/commands", "")
		},
		"platformId of POST": func(t *testing.T, url, id string) testkit.Response {
			return testkit.Send(t, "POST", url+"/api/c/platforms/"+id+"/commands", `{"howTo":"h","commandLine":"c"}`)
		},
		"platformId of a command": func(t *testing.T, url, id string) testkit.Response {
			return testkit.Send(t, "GET", url+"/api/c/platforms/"+id+"/commands/1", "")
		},
		"commandId": func(t *testing.T, url, id string) testkit.Response {
			return testkit.Send(t, "GET", url+"/api/c/platforms/4/commands/"+id, "")
		},
	}
	for place, get := range places {
		t.Run(place+" has to be an integer", func(t *testing.T) {
			url := serveCommand(t)
			field, _, _ := strings.Cut(place, " ")
			for _, id := range []string{"abc", "1.5", "1.0", "1e3", "0x1", "1_0", "4%20", "%20", "%00", "%2B", "-", "--1", "4,0", "%D9%A3", "4%22"} {
				testkit.RequireProblem(t, get(t, url, id), http.StatusBadRequest, field)
			}
		})
		t.Run(place+" can be an unknown integer", func(t *testing.T) {
			url := serveCommand(t)
			for _, id := range []string{"0", "-0", "-1", "-4", "5", "2147483647", "2147483648", "-2147483649", "4294967300",
				"99999999999999999999", "-99999999999999999999", strings.Repeat("9", 2000)} {
				testkit.RequireProblem(t, get(t, url, id), http.StatusNotFound)
			}
		})
	}
	t.Run("an id may have a sign and leading zeros", func(t *testing.T) {
		url := serveCommand(t)
		for _, path := range []string{"/api/c/platforms/+4/commands/1", "/api/c/platforms/4/commands/+1", "/api/c/platforms/04/commands/01"} {
			testkit.RequireJSON(t, testkit.Send(t, "GET", url+path, ""), http.StatusOK, `{"id":1,"howTo":"h","commandLine":"c","platformId":4}`)
		}
	})
}

func TestTexts(t *testing.T) {
	for what, text := range testkit.OddTexts() {
		t.Run(what+" is returned as sent", func(t *testing.T) {
			url, _, _ := serveAPI(t)
			quoted, err := json.Marshal(text)
			require.NoError(t, err)

			var platform struct{ Name string }
			decode(t, testkit.Send(t, "POST", url+"/api/c/platforms", fmt.Sprintf(`{"id":4,"name":%s}`, quoted)), http.StatusOK, &platform)
			assert.True(t, platform.Name == text, "name")
			var platforms []struct{ Name string }
			decode(t, testkit.Send(t, "GET", url+"/api/c/platforms", ""), http.StatusOK, &platforms)
			assert.True(t, len(platforms) == 1 && platforms[0].Name == text, "name in the list")

			var command struct{ HowTo, CommandLine string }
			created := testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", fmt.Sprintf(`{"howTo":%s,"commandLine":%[1]s}`, quoted))
			decode(t, created, http.StatusCreated, &command)
			assert.True(t, command.HowTo == text && command.CommandLine == text, "command")
			testkit.RequireJSON(t, testkit.Send(t, "GET", url+created.Header.Get("Location"), ""), http.StatusOK, created.Body)
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
			decode(t, testkit.Send(t, "POST", url+"/api/c/platforms", `{"id":4,"name":"`+escaped+`"}`), http.StatusOK, &platform)
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
			got := testkit.Send(t, request.method, url+request.path, request.body)
			testkit.RequireProblem(t, got, http.StatusInternalServerError)
			assert.NotContains(t, got.Body, "sql")
			assert.NotContains(t, got.Body, "closed")
			assert.Len(t, logged.Lines(""), 1)
			assert.Len(t, logged.Lines("database is closed"), 1)
		})
	}
}

func FuzzReceivePlatform(f *testing.F) {
	for _, body := range randomBodies(`{"id":4,"name":"x"}`, recordedPost, `{"id":4,"name":"\ud83d\ude80"}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		url, _, _ := serveAPI(t)
		got := testkit.Send(t, "POST", url+"/api/c/platforms", string(body))
		list := testkit.Send(t, "GET", url+"/api/c/platforms", "")
		switch {
		case len(body) == 0: // a test of the connection
			assert.Equal(t, http.StatusOK, got.Status)
			testkit.RequireJSON(t, list, http.StatusOK, "[]")
			return
		case got.Status == http.StatusOK:
			testkit.RequireJSON(t, list, http.StatusOK, "["+got.Body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.Status)
		testkit.RequireJSON(t, list, http.StatusOK, "[]")
	})
}

func FuzzCreateCommand(f *testing.F) {
	for _, body := range randomBodies(`{"howTo":"h","commandLine":"c"}`, `{"HowTo":"\u0000","CommandLine":"a \\ b","x":[1,{}]}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		got := testkit.Send(t, "POST", url+"/api/c/platforms/4/commands", string(body))
		list := testkit.Send(t, "GET", url+"/api/c/platforms/4/commands", "")
		if got.Status == http.StatusCreated {
			testkit.RequireJSON(t, testkit.Send(t, "GET", url+got.Header.Get("Location"), ""), http.StatusOK, got.Body)
			testkit.RequireJSON(t, list, http.StatusOK, "["+got.Body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.Status)
		testkit.RequireJSON(t, list, http.StatusOK, "[]")
	})
}

// randomBodies returns 200 bodies, the same each time: the valid ones, damaged
// copies of them, and noise.
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

// serveAPI serves the REST API over an empty store.
func serveAPI(t testing.TB) (url string, store commandStore, logged *testkit.LogCapture) {
	t.Helper()
	store = memoryStore(t)
	log, logged := testkit.CaptureLog()
	return testkit.Serve(t, (&restAPI{store: store, slots: web.NewSlots(100), log: log}).handler()), store, logged
}

// decode reads a response of JSON.
func decode(t testing.TB, got testkit.Response, status int, into any) {
	t.Helper()
	require.Equal(t, status, got.Status)
	require.NoError(t, json.Unmarshal([]byte(got.Body), into))
}

func requirePlatforms(t testing.TB, store commandStore, count int) {
	t.Helper()
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	assert.Len(t, platforms, count)
}
