package main

import (
	"maps"
	"slices"
	"testing"
)

func TestAnchors(t *testing.T) {
	d := parseDocument("x.md", []byte("# What `lab run` does: it *starts*, & stops!\n\n## Über_uns – 2\n\n## Twice\n\n## Twice\n\n<a name=\"by-hand\"></a>\n\n<details id=\"more\">\n"))
	want := []string{"by-hand", "more", "twice", "twice-1", "what-lab-run-does-it-starts--stops", "über_uns--2"}
	if got := slices.Sorted(maps.Keys(d.anchors)); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWhatVariesIsNotCompared(t *testing.T) {
	for _, pair := range [][2]string{
		{"Date: Tue, 24 Nov 2026 08:53:47 GMT", "Date: Wed, 25 Nov 2026 18:00:00 GMT"},
		{"time=2026-11-24T08:53:47.123Z level=INFO", "time=2026-11-25T08:53:47.1+01:00 level=INFO"},
		{"2026/11/24 08:53:47 started", "2026/11/24 08:53:48 started"},
		{"ok  \tmicrocomm/x\t0.012s", "ok  \tmicrocomm/x\t(cached)"},
		{"real\t0m2.013s", "real\t0m2.1s"},
		{"0.004512", "2.000123"},
		{"(process 12)", "(process 12345)"},
		{`"instance":"QWERTYUIOPASDFGHJKLZXCVBNM"`, `"instance":"ABCDEFGHIJKLMNOPQRSTUVWXYZ"`},
		{"trace_id=0123456789abcdef0123456789abcdef", "trace_id=aaaaaaaaaaaaaaaa0123456789abcdef"},
		{"go version go1.26.8 linux/amd64", "go version go1.27.0 darwin/arm64"},
		{"12 passed, 0 failed, 1 skipped", "13 passed, 0 failed, 0 skipped"},
		{"/tmp/microcomm-run-123456789/x", "/tmp/microcomm-run-987654321/x"},
	} {
		if normalise(pair[0]) != normalise(pair[1]) {
			t.Errorf("%q and %q differ: %q, %q", pair[0], pair[1], normalise(pair[0]), normalise(pair[1]))
		}
	}
	for _, pair := range [][2]string{
		{`{"id":4}`, `{"id":5}`},
		{"12 passed, 0 failed, 1 skipped", "12 passed, 1 failed, 1 skipped"},
		{"HTTP/1.1 200 OK", "HTTP/1.1 201 Created"},
		{"after 2s", "after 3s"},
	} {
		if normalise(pair[0]) == normalise(pair[1]) {
			t.Errorf("%q and %q are not told apart", pair[0], pair[1])
		}
	}
}

func TestLinesThatOnlyASlowMachinePrintsDoNotCount(t *testing.T) {
	for got, want := range map[string]bool{
		"building final/cmd/dlq: 10s\nID\n":          true,
		"broker: still starting (5s)\nID\n":          true,
		"go: downloading example.org/x v1.2.3\nID\n": true,
		"building final/cmd/dlq: no such file\nID\n": false,
		"building it takes long\nID\n":               false,
	} {
		if matches("ID\n", got, false) != want {
			t.Errorf("%q: want %t", got, want)
		}
	}
}
