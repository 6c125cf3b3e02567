package console

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// line is one fact, in the envelope that docs/events-and-apis.md describes. The
// live feed, a download and a recording are lines and nothing else.
type line struct {
	Version int    `json:"v"`
	Seq     uint64 `json:"seq"`
	Time    string `json:"time"` // when the fact happened, not when it was learned
	Kind    string `json:"kind"`
	Subject string `json:"subject"`
	Content any    `json:"content"`
}

// timeFormat is RFC 3339 with microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

func formatTime(t time.Time) string { return t.UTC().Format(timeFormat) }

// runContent is the first line of every stream: what the others are about.
type runContent struct {
	Run       string      `json:"run"`
	Stage     string      `json:"stage"`
	Title     string      `json:"title"`
	Parts     []part      `json:"parts"`
	Sees      []string    `json:"sees"`
	CannotSee []cannotSee `json:"cannotSee"`
	Faults    any         `json:"faults,omitempty"`
}

// part is a box of the map.
type part struct {
	ID       string `json:"id"`
	Title    string `json:"title"`
	Replicas int    `json:"replicas,omitempty"`
}

type cannotSee struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// partContent is the state of a part: up, down, starting, stopping or paused.
type partContent struct {
	State   string `json:"state"`
	Detail  string `json:"detail,omitempty"`
	Replica string `json:"replica,omitempty"`
}

// hopContent is a step of a platform's way through the system.
type hopContent struct {
	Hop     string  `json:"hop"`
	Start   string  `json:"start,omitempty"`
	MS      float64 `json:"ms,omitempty"` // from start to the line's time
	ID      int32   `json:"id,omitempty"`
	Name    string  `json:"name,omitempty"`
	Trace   string  `json:"trace,omitempty"`
	Message string  `json:"message,omitempty"`
	Replica string  `json:"replica,omitempty"`
	Attempt int     `json:"attempt,omitempty"`
	Reason  string  `json:"reason,omitempty"`
	From    string  `json:"from"` // the signal: span, event, list or probe
}

// subject returns what a hop is about. A later hop with both ids joins the two.
func (h hopContent) subject() string {
	switch {
	case h.ID != 0:
		return fmt.Sprintf("platform/%d", h.ID)
	case h.Message != "":
		return "message/" + h.Message
	}
	return "trace/" + h.Trace
}

// listContent is how one of the two lists has changed.
type listContent struct {
	Added   []item  `json:"added"`
	Removed []int32 `json:"removed,omitempty"`
	Total   int     `json:"total"`
}

// item is a platform in a list.
type item struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

type queueContent struct {
	Depth     int    `json:"depth"`
	Consumers int    `json:"consumers"`
	Role      string `json:"role"` // work, retry, dead, console or other
}

// maxName bounds a name in a line, in code points: names are shown, not compared.
const maxName = 120

// short returns text, cut to maxName.
func short(text string) string {
	if utf8.RuneCountInString(text) <= maxName {
		return text
	}
	return string([]rune(text)[:maxName-1]) + "…"
}

// encode returns the line as JSON, without a line break.
func (l line) encode() []byte {
	text, err := json.Marshal(l)
	if err != nil { // our own contents always encode; lab's were decoded before
		text = []byte(`{"v":1,"seq":` + strconv.FormatUint(l.Seq, 10) + `,"kind":"note","subject":"note","content":{}}`)
	}
	return text
}
