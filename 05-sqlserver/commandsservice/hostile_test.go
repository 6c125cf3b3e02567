package commandsservice

import (
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBodies(t *testing.T) {
	for route, valid := range postRoutes() {
		for what, body := range map[string]string{
			"white space":       " \n",
			"what is no JSON":   "id=4&name=x",
			"a cut off object":  valid[:len(valid)-1],
			"trailing data":     valid + "x",
			"two objects":       valid + valid,
			"a trailing comma":  strings.TrimSuffix(valid, "}") + ",}",
			"a comment":         "/* */" + valid,
			"single quotes":     strings.ReplaceAll(valid, `"`, `'`),
			"a byte order mark": "\ufeff" + valid,
			"an array":          "[" + valid + "]",
			"a string":          `"text"`,
			"a number":          "5",
			"true":              "true",
			"a raw line break":  strings.Replace(valid, `":"`, "\":\"\n", 1),
			"a raw NUL":         strings.Replace(valid, `":"`, "\":\"\x00", 1),
			"a bad escape":      strings.Replace(valid, `":"`, `":"\x41`, 1),
			"invalid UTF-8":     strings.Replace(valid, `":"`, "\":\"\xff", 1),
			"cut off UTF-8":     strings.Replace(valid, `":"`, "\":\"\xe2\x82", 1),
			"a UTF-8 surrogate": strings.Replace(valid, `":"`, "\":\"\xed\xa0\x80", 1),
			"a very deep array": strings.Repeat("[", 100_000),
		} {
			t.Run(route+" refuses "+what, func(t *testing.T) {
				url, store, _ := serveAPI(t)
				addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
				requireProblem(t, send(t, "POST", url+route, body), http.StatusBadRequest)
				requirePlatforms(t, store, 1)
				commands, err := store.commands(t.Context(), 4)
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
				got := send(t, "POST", url+route, valid, "Content-Type", contentType)
				if accepted {
					assert.Less(t, got.status, 300, contentType)
				} else {
					requireProblem(t, got, http.StatusUnsupportedMediaType)
				}
			}
		})

		t.Run(route+" accepts a body of 1 MiB and not a byte more", func(t *testing.T) {
			url, store, _ := serveAPI(t)
			addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
			largest := strings.TrimSuffix(valid, "}") + `,"other":"`
			largest += strings.Repeat("a", maxBody-len(largest)-2) + `"}`
			for _, body := range []string{largest, largest + " "} {
				sized := newRequest(t, "POST", url+route, strings.NewReader(body))
				chunked := newRequest(t, "POST", url+route, io.MultiReader(strings.NewReader(body))) // of unknown length
				for _, request := range []*http.Request{sized, chunked} {
					r := sendRequest(t, request)
					if body == largest {
						assert.Less(t, r.status, 300)
					} else {
						requireProblem(t, r, http.StatusRequestEntityTooLarge)
					}
				}
			}
		})
	}
}

func FuzzReceivePlatform(f *testing.F) {
	for _, body := range randomBodies(`{"id":4,"name":"x"}`, recordedPost, `{"id":4,"name":"\ud83d\ude80"}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		url, _, _ := serveAPI(t)
		got := send(t, "POST", url+"/api/c/platforms", string(body))
		list := send(t, "GET", url+"/api/c/platforms", "")
		switch {
		case len(body) == 0: // a test of the connection
			assert.Equal(t, http.StatusOK, got.status)
			requireJSON(t, list, http.StatusOK, "[]")
			return
		case got.status == http.StatusOK:
			requireJSON(t, list, http.StatusOK, "["+got.body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.status)
		requireJSON(t, list, http.StatusOK, "[]")
	})
}

func FuzzCreateCommand(f *testing.F) {
	for _, body := range randomBodies(`{"howTo":"h","commandLine":"c"}`, `{"HowTo":"\u0000","CommandLine":"a \\ b","x":[1,{}]}`) {
		f.Add(body)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		url, store, _ := serveAPI(t)
		addPlatforms(t, store, platform{ExternalID: 4, Name: "x"})
		got := send(t, "POST", url+"/api/c/platforms/4/commands", string(body))
		list := send(t, "GET", url+"/api/c/platforms/4/commands", "")
		if got.status == http.StatusCreated {
			requireJSON(t, send(t, "GET", url+got.header.Get("Location"), ""), http.StatusOK, got.body)
			requireJSON(t, list, http.StatusOK, "["+got.body+"]")
			return
		}
		assert.Contains(t, []int{http.StatusBadRequest, http.StatusRequestEntityTooLarge}, got.status)
		requireJSON(t, list, http.StatusOK, "[]")
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
