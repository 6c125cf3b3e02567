package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"microcomm/docs/tools/internal/class"
	"microcomm/docs/tools/internal/exercise"
)

func TestAResultIsReportedToTheBoard(t *testing.T) {
	received := make(chan class.Report, 1)
	board := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var got class.Report
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil || r.URL.Path != class.Path || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %v", r.Method, r.URL, err)
		}
		received <- got
		w.WriteHeader(http.StatusNoContent)
	}))
	defer board.Close()
	var out, errs bytes.Buffer
	l := &lab{out: &out, err: &errs}
	e := &exercise.Exercise{Stage: "06-rabbitmq", Name: "durable-queue"}
	v := verdict{passed: true, held: 2, total: 3, failed: []string{"TestA"}}
	l.sendReport(t.Context(), checkOptions{report: board.URL, name: " Ada "}, e, v)
	want := class.Report{Name: "Ada", Stage: "06-rabbitmq", Exercise: "durable-queue", Held: 2, Total: 3, Failed: []string{"TestA"}}
	if got := <-received; !reflect.DeepEqual(got, want) || !strings.Contains(out.String(), "as Ada") {
		t.Fatalf("got %+v, want %+v; printed %q", got, want, out.String())
	}
}

func TestABoardThatRefusesIsSaidAndNoMore(t *testing.T) {
	full := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "the board is full", http.StatusServiceUnavailable)
	}))
	defer full.Close()
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for url, want := range map[string]string{full.URL: "the board is full", gone.URL: "refused"} {
		var errs bytes.Buffer
		l := &lab{out: io.Discard, err: &errs}
		l.sendReport(t.Context(), checkOptions{report: url, name: "Ada"}, &exercise.Exercise{}, verdict{})
		if !strings.Contains(errs.String(), "not reported: ") || !strings.Contains(errs.String(), want) {
			t.Errorf("%s: printed %q, want %q in it", url, errs.String(), want)
		}
	}
}

func TestAWrongAddressOfABoardIsFoundBeforeTheTestsRun(t *testing.T) {
	t.Setenv("USER", "")
	t.Setenv("USERNAME", "")
	for _, o := range []checkOptions{
		{report: "192.0.2.1:7070", name: "Ada"}, {report: "https://192.0.2.1", name: "Ada"}, {report: "http://", name: "Ada"},
		{report: "http://192.0.2.1:7070"}, {report: "http://192.0.2.1:7070", name: " "},
	} {
		if reportFault(o) == nil {
			t.Errorf("%+v is accepted", o)
		}
	}
	if err := reportFault(checkOptions{report: "http://192.0.2.1:7070", name: "Ada"}); err != nil {
		t.Error(err)
	}
}
