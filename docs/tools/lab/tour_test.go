package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// guided returns a guide for a gateway that creates Docker as platform 4, and
// what it prints. The log has the backfill, and what logged is for each POST.
func guided(t *testing.T, logged string) (*guide, *bytes.Buffer) {
	t.Helper()
	log := &tourLog{grown: make(chan struct{}, 1)}
	fmt.Fprintln(log, `time=1 level=INFO msg="backfill done"`)
	created := 3
	respond := func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		switch r.Method + " " + r.URL.Path {
		case "POST /api/platforms":
			if key := r.Header.Get("Idempotency-Key"); created == 3 || key == "" {
				created++
			}
			fmt.Fprint(log, logged)
			w.WriteHeader(http.StatusCreated)
			fmt.Fprintf(w, `{"id":%d,%s`, created, body[1:])
		case "GET /api/c/platforms":
			fmt.Fprint(w, `[{"id":4,"name":"Docker"}]`)
		case "POST /api/c/platforms/4/commands":
			w.WriteHeader(http.StatusCreated)
			w.Write(body)
		default:
			http.NotFound(w, r)
		}
	}
	server := httptest.NewServer(http.HandlerFunc(respond))
	t.Cleanup(server.Close)
	out := &bytes.Buffer{}
	return &guide{out: out, log: log, address: server.Listener.Addr().String(), timeout: 10 * time.Second, began: time.Now()}, out
}

func TestTourFollowsThePlatform(t *testing.T) {
	for _, event := range []string{
		`msg="platform received by event" id=4 name=Docker`,
		`msg="platforms received by event" received=4 first=1 last=4`,
	} {
		g, out := guided(t, "time=1 level=INFO "+event+"\n")
		var notes []string
		g.note = func(hop string) { notes = append(notes, hop) }
		if err := g.walk(t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(notes) != 8 || !strings.HasSuffix(notes[0], "a backfill.") {
			t.Errorf("the hops are recorded as %q", notes)
		}
		for _, want := range []string{
			"\n1. chapter 07, after ", "\n8. chapter final, after ", "The response: 201 Created\n",
			"     level=INFO " + event + "\n", "/api/c/platforms/4/commands: 201 Created\n", "No second platform.\n",
		} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	}
}

func TestTourMissesAnEvent(t *testing.T) {
	g, out := guided(t, "time=1 level=INFO msg=\"platform received by event\" name=\"Dot Net\"\n")
	g.timeout = 200 * time.Millisecond
	if err := g.walk(t.Context()); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "wait for received by event") {
		t.Errorf("error: %v", err)
	}
	if strings.Contains(out.String(), "chapter 06") {
		t.Errorf("it shows a hop that has not happened:\n%s", out)
	}
}

// TestTourOfASystemThatEnds: the error has what the system said last.
func TestTourOfASystemThatEnds(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc, which lab tour asks for")
	}
	l := workspace(t, map[string]string{
		"final/go.mod": "module microcomm/final\n\ngo 1.26\n",
		"final/cmd/microcomm/main.go": `package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "the database is", os.Getenv("DATABASE_URL"))
	os.Exit(3)
}
`,
	})
	t.Setenv("GATEWAY_ADDR", someFreeAddress())
	t.Setenv("DATABASE_URL", "sqlite:mine.db")
	err := l.do(t.Context(), "tour")
	if err == nil || !strings.Contains(err.Error(), "the system ended unexpectedly; the system said:\nthe database is sqlite::memory:\n") {
		t.Errorf("error: %v", err)
	}
}
