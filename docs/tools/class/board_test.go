package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"microcomm/docs/tools/internal/class"
	"microcomm/docs/tools/internal/exercise"
)

func TestTheBoardShowsWhoIsWhereAndWhatStopsThem(t *testing.T) {
	file := filepath.Join(t.TempDir(), "class.json")
	url := startBoard(t, file)
	report(t, url, http.StatusNoContent, `{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue","held":1,"total":3,"failed":["TestA","TestB"]}`)
	report(t, url, http.StatusNoContent, `{"name":"Grace","stage":"06-rabbitmq","exercise":"durable-queue","held":2,"total":3,"failed":["TestB"]}`)
	report(t, url, http.StatusNoContent, `{"name":"Ada","stage":"02-http-sync","exercise":"bulkhead","passed":true,"held":2,"total":2}`)
	wants := func(url string) {
		t.Helper()
		page := get(t, url+"/class", http.StatusOK)
		for _, want := range []string{
			"<bdi>Ada</bdi></h3>\n<p>02-http-sync <b>bulkhead</b></p>\n<p><b>passed</b>, 1 so far",
			"<bdi>Grace</bdi></h3>\n<p>06-rabbitmq <b>durable-queue</b></p>", "2 of 3",
			"<b>2</b> <span><strong>The queue outlives a restart</strong> <code>TestB</code>", "<b>1</b> <span><code>TestA</code>",
		} {
			if !strings.Contains(page, want) {
				t.Errorf("the board lacks %s:\n%s", want, page)
			}
		}
		if strings.Index(page, "TestB") > strings.Index(page, "TestA") {
			t.Error("the test that stops most people must come first")
		}
		if strings.Index(page, "Ada") > strings.Index(page, "Grace") {
			t.Error("people must be in the order of their names: one who reports stays in place")
		}
	}
	wants(url)
	wants(startBoard(t, file)) // after a restart
}

func TestANewReportReplacesTheOneBefore(t *testing.T) {
	url := startBoard(t, filepath.Join(t.TempDir(), "class.json"))
	report(t, url, http.StatusNoContent, `{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue","held":1,"total":3,"failed":["TestA"]}`)
	report(t, url, http.StatusNoContent, `{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue","passed":true,"held":3,"total":3}`)
	if page := get(t, url+"/class", http.StatusOK); strings.Contains(page, "TestA") || strings.Count(page, "Ada") != 1 {
		t.Errorf("Ada has passed, and nothing stops her:\n%s", page)
	}
}

func TestCodeThatDoesNotCompileIsSeen(t *testing.T) {
	url := startBoard(t, filepath.Join(t.TempDir(), "class.json"))
	report(t, url, http.StatusNoContent, `{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":3}`)
	if page := get(t, url+"/class", http.StatusOK); !strings.Contains(page, "no test ran") {
		t.Errorf("it looks like a try that failed:\n%s", page)
	}
}

func TestHostileReportsAreText(t *testing.T) {
	url := startBoard(t, filepath.Join(t.TempDir(), "class.json"))
	report(t, url, http.StatusNoContent, `{"name":"<script>alert(1)</script>","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":3,"failed":["<b>no such test</b>"]}`)
	page := get(t, url+"/class", http.StatusOK)
	if strings.Contains(page, "<script>") || !strings.Contains(page, "&lt;script&gt;") || strings.Contains(page, "no such test") {
		t.Errorf("a name must be text, and an unknown test not shown:\n%s", page)
	}
	for body, status := range map[string]int{
		`{`:              http.StatusBadRequest,
		`{"name":"Ada"}`: http.StatusBadRequest,
		`{"name":"Ada","stage":"06-rabbitmq","exercise":"../..","held":0,"total":1}`:                                         http.StatusBadRequest,
		`{"name":" ","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":1}`:                                   http.StatusBadRequest,
		`{"name":"a\u0007b","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":1}`:                            http.StatusBadRequest,
		`{"name":"a\u202eb","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":1}`:                            http.StatusBadRequest,
		`{"name":"` + strings.Repeat("é", 61) + `","stage":"06-rabbitmq","exercise":"durable-queue","held":0,"total":1}`:     http.StatusBadRequest,
		`{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue","held":2,"total":1}`:                                 http.StatusBadRequest,
		`{"name":"` + strings.Repeat("a", class.MaxReport) + `","stage":"06-rabbitmq","exercise":"durable-queue","total":1}`: http.StatusRequestEntityTooLarge,
	} {
		report(t, url, status, body)
	}
	response, err := http.Post(url+class.Path, "text/plain", strings.NewReader(`{"name":"Ada","stage":"06-rabbitmq","exercise":"durable-queue"}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("a form of another site could have sent this: %s", response.Status)
	}
}

func TestTheBoardHoldsABoundedNumberOfPeople(t *testing.T) {
	b := newBoard(t, filepath.Join(t.TempDir(), "class.json"))
	one := func(i int) error {
		return b.add(class.Report{Name: fmt.Sprint("person ", i), Stage: "02-http-sync", Exercise: "bulkhead", Total: 1}, fmt.Sprint("192.0.2.", i%10))
	}
	var adding sync.WaitGroup
	for i := range maxPeople {
		adding.Go(func() {
			if err := one(i); err != nil {
				t.Error(err)
			}
		})
	}
	adding.Wait()
	if err := one(maxPeople); err != errFull {
		t.Error(err)
	}
	if err := one(0); err != nil {
		t.Error("who is on it, stays: ", err)
	}
}

func TestNoAddressFillsTheBoard(t *testing.T) {
	url := startBoard(t, filepath.Join(t.TempDir(), "class.json"))
	one := func(i, status int) {
		report(t, url, status, fmt.Sprintf(`{"name":"person %d","stage":"02-http-sync","exercise":"bulkhead","held":0,"total":1}`, i))
	}
	for i := range maxFrom {
		one(i, http.StatusNoContent)
	}
	one(maxFrom, http.StatusTooManyRequests)
	one(0, http.StatusNoContent) // who is on it, stays
}

func TestTheBookIsServedBesideTheBoard(t *testing.T) {
	b, err := openBoard(filepath.Join(t.TempDir(), "class.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	book := t.TempDir()
	if err := os.WriteFile(filepath.Join(book, "index.html"), []byte("the book"), 0o644); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler(b, book))
	defer server.Close()
	if got := get(t, server.URL+"/", http.StatusOK); got != "the book" {
		t.Errorf("got %q", got)
	}
	get(t, server.URL+"/class", http.StatusOK)
}

// newBoard is a board of two exercises.
func newBoard(t *testing.T, file string) *board {
	t.Helper()
	b, err := openBoard(file, []*exercise.Exercise{
		{Stage: "02-http-sync", Name: "bulkhead", Tests: []string{"TestC"}},
		{Stage: "06-rabbitmq", Name: "durable-queue", Tests: []string{"TestA", "TestB"},
			Items: []exercise.Item{{Text: "The `queue` outlives a restart: `TestB`", Tests: []string{"TestB"}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// startBoard serves it.
func startBoard(t *testing.T, file string) (url string) {
	t.Helper()
	server := httptest.NewServer(handler(newBoard(t, file), t.TempDir()))
	t.Cleanup(server.Close)
	return server.URL
}

func report(t *testing.T, url string, status int, body string) {
	t.Helper()
	response, err := http.Post(url+class.Path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	said, _ := io.ReadAll(response.Body)
	if response.StatusCode != status {
		t.Errorf("%.120s: %s %s, want %d", body, response.Status, said, status)
	}
}

func get(t *testing.T, url string, status int) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != status {
		t.Fatalf("%s: %s %v", url, response.Status, err)
	}
	return string(body)
}
