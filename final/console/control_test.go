package console

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

const testSecret = "s3cret"

// startLab serves what lab does, and passes on what it was asked to break.
func startLab(t *testing.T) (url string, asked <-chan string) {
	t.Helper()
	requests := make(chan string, 10)
	return testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testSecret || r.URL.Path != "/control/faults" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodPost {
			body, _ := io.ReadAll(r.Body)
			requests <- string(body)
			w.WriteHeader(http.StatusAccepted)
		}
		_, _ = io.WriteString(w, `{"faults":[{"action":"kill","part":"broker","title":"Stop it"}]}`)
	})), requests
}

func startControlled(t *testing.T, lab string) string {
	t.Helper()
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "CONSOLE_CONTROL_URL": lab, "CONSOLE_CONTROL_SECRET": testSecret}, Parts{})
	return url
}

func TestFaultsAreForwardedToLab(t *testing.T) {
	lab, asked := startLab(t)
	url := startControlled(t, lab)
	first := read(t, url, "").until("the run", func(l received) bool { return l.Kind == "run" })
	assert.Equal(t, "kill", first[0].Content.Faults[0]["action"])

	got := testkit.Send(t, "POST", url+"/control/faults", `{"action":"kill","part":"broker"}`, "Origin", url, controlHeader, "1")
	require.Equal(t, http.StatusAccepted, got.Status, got.Body)
	assert.Equal(t, `{"action":"kill","part":"broker"}`, testkit.Receive(t, "the request", asked))
	assert.Equal(t, http200, testkit.Send(t, "GET", url+"/control/faults", "").Status)
}

func TestOnlyTheConsolesPageBreaksParts(t *testing.T) {
	lab, asked := startLab(t)
	url := startControlled(t, lab)
	for what, header := range map[string][]string{
		"without the header":                   {"Origin", url},
		"of another origin":                    {"Origin", "http://example.com", controlHeader, "1"},
		"without an origin":                    {controlHeader, "1"},
		"by a name that is not this machine's": {"Origin", "http://rebound.example.com", "Host", "rebound.example.com", controlHeader, "1"},
	} {
		t.Run(what, func(t *testing.T) {
			request := testkit.NewRequest(t, "POST", url+"/control/faults", strings.NewReader(`{}`))
			for i := 0; i < len(header); i += 2 {
				request.Header.Set(header[i], header[i+1])
			}
			request.Host = request.Header.Get("Host")
			testkit.RequireProblem(t, testkit.SendRequest(t, request), http.StatusForbidden)
		})
	}
	assert.Empty(t, asked)
}

func TestWithoutLabNothingCanBeBroken(t *testing.T) {
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/"}, Parts{})
	first := read(t, url, "").until("the run", func(l received) bool { return l.Kind == "run" })
	assert.Empty(t, first[0].Content.Faults)
	for _, method := range []string{"GET", "POST"} {
		testkit.RequireProblem(t, testkit.Send(t, method, url+"/control/faults", "{}", "Origin", url, controlHeader, "1"), http.StatusNotFound)
	}
	refused := testkit.Send(t, "POST", url+"/feed", "", "Authorization", "Bearer ")
	testkit.RequireProblem(t, refused, http.StatusUnauthorized)
	assert.Equal(t, "Bearer", refused.Header.Get("WWW-Authenticate"))
}

func TestLabAddsLines(t *testing.T) {
	lab, _ := startLab(t)
	url := startControlled(t, lab)
	feed := read(t, url, "")
	lines := `{"v":1,"time":"2026-11-28T10:00:00Z","kind":"part","subject":"part/commandsservice","content":{"state":"paused"}}

{"v":1,"time":"2026-11-28T10:00:01Z","kind":"note","subject":"note","content":{"text":"now <b>watch</b>"}}
`
	require.Equal(t, http.StatusNoContent, testkit.Send(t, "POST", url+"/feed", lines, "Authorization", "Bearer "+testSecret).Status)
	got := feed.part("commandsservice", paused)
	assert.Equal(t, 2026, got.Time.Year())
	noted := feed.until("the note", func(l received) bool { return l.Kind == "note" })
	assert.Greater(t, noted[len(noted)-1].Seq, got.Seq)
	for _, l := range append(noted, drain(feed)...) {
		assert.NotEqual(t, "down", l.Content.State+strings.TrimPrefix(l.Subject, "part/commandsservice"), "lab knows better than a probe")
	}

	for what, row := range map[string]struct{ line, secret string }{
		"another secret":    {lines, "x"},
		"no JSON":           {"x", testSecret},
		"no content":        {`{"kind":"note","subject":"note"}`, testSecret},
		"content of a kind": {`{"kind":"note","subject":"note","content":"text"}`, testSecret},
		"another kind":      {`{"kind":"run","subject":"run","content":{}}`, testSecret},
		"no subject":        {`{"kind":"note","content":{}}`, testSecret},
		"a part of no kind": {`{"kind":"part","subject":"part/x","content":{"state":1}}`, testSecret},
	} {
		t.Run(what, func(t *testing.T) {
			got := testkit.Send(t, "POST", url+"/feed", row.line, "Authorization", "Bearer "+row.secret)
			assert.Contains(t, []int{http.StatusBadRequest, http.StatusUnauthorized}, got.Status)
			assert.True(t, json.Valid([]byte(got.Body)))
		})
	}
}

// drain returns the lines that have arrived.
func drain(r *reader) (lines []received) {
	for {
		select {
		case l := <-r.lines:
			lines = append(lines, l)
		default:
			return lines
		}
	}
}
