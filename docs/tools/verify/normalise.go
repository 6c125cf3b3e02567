package main

import (
	"regexp"
	"strings"
)

// normalise removes from a line what varies from run to run:
//
//   - dates with times, as HTTP, RFC 3339 and Go's log print them
//   - how long something took: 1.23s, 45ms, (cached), 0.001234
//   - process ids: process 123, pid=123
//   - ids: UUIDs, hexadecimal of 16 digits and more, request ids (26 letters and digits)
//   - Go's version and platform: go version go1.26.8 linux/amd64
//   - how many tests passed and were skipped (not: how many failed)
//   - random ends of temporary folders
//   - the width of whitespace
//
// Ports, /tmp and the checkout's place are moved back before: see [ports].
func normalise(line string) string {
	for _, v := range varying {
		line = v.pattern.ReplaceAllString(line, v.by)
	}
	return strings.Join(strings.Fields(line), " ")
}

var varying = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\b`), "TIME"},
	{regexp.MustCompile(`\b\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?(Z|[+-]\d\d:?\d\d)?`), "TIME"},
	{regexp.MustCompile(`\b(\d+m)?\d+\.\d+s\b|\b\d+(\.\d+)?(ms|µs|ns)\b|\(cached\)|\b\d+\.\d{6}\b`), "DURATION"},
	{regexp.MustCompile(`\b(process |pid[= ])\d+\b`), "${1}PID"},
	{regexp.MustCompile(`\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{16,}\b|\b[A-Z2-7]{26}\b|\bamq\.gen-[\w-]+`), "ID"},
	{regexp.MustCompile(`\bgo version go\S+`), "go version GO"},
	{regexp.MustCompile(`\b(linux|darwin)/(amd64|arm64)\b`), "PLATFORM"},
	{regexp.MustCompile(`\b\d+ passed, (\d+ failed), \d+ skipped\b`), "N passed, $1, N skipped"},
	{regexp.MustCompile(`(/tmp/[\w./-]*?)\d{6,}\b`), "${1}N"},
}
