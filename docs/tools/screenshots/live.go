package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// playback is a console that plays a recording as if it happened now: up to its first
// fault, and the rest when the page asks for that fault.
type playback struct {
	before, after []moment
	asked         chan struct{} // closed by the page's request
	ask           func()
}

// moment is a line of a recording.
type moment struct {
	text []byte
	time time.Time
}

// newPlayback reads a recording up to the end, in seconds after its beginning.
func newPlayback(page, recording string, end float64) (*playback, error) {
	content, err := os.ReadFile(filepath.Join(page, "console", recording+".ndjson"))
	if err != nil {
		return nil, err
	}
	var lines []moment
	var fault time.Time
	for text := range bytes.Lines(content) {
		var line struct {
			Time time.Time
			Kind string
		}
		if err := json.Unmarshal(text, &line); err != nil {
			return nil, fmt.Errorf("%s: %w", recording, err)
		}
		if line.Kind == "fault" && fault.IsZero() {
			fault = line.Time
		}
		lines = append(lines, moment{bytes.TrimSpace(text), line.Time})
	}
	if fault.IsZero() {
		return nil, fmt.Errorf("%s: there is no fault", recording)
	}
	index := func(at time.Time) int {
		return slices.IndexFunc(lines, func(m moment) bool { return m.time.After(at) })
	}
	noticed := index(fault.Add(-100 * time.Millisecond)) // the console may see it before it is told
	until := index(lines[0].time.Add(time.Duration(end * float64(time.Second))))
	if noticed < 1 || until < noticed {
		return nil, fmt.Errorf("%s: %g s are not after the fault, and before the end", recording, end)
	}
	p := &playback{before: lines[:noticed], after: lines[noticed:until], asked: make(chan struct{})}
	p.ask = sync.OnceFunc(func() { close(p.asked) })
	return p, nil
}

// feed is GET /feed.
func (p *playback) feed(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Date", p.before[len(p.before)-1].time.Format(http.TimeFormat)) // the page goes by it
	p.send(w, p.before)
	select {
	case <-p.asked:
		p.send(w, p.after)
	case <-r.Context().Done():
	}
	<-r.Context().Done()
}

func (p *playback) send(w http.ResponseWriter, lines []moment) {
	for _, line := range lines {
		fmt.Fprintf(w, "data: %s\n\n", line.text) // the page may have gone
	}
	_ = http.NewResponseController(w).Flush()
}

// control is POST /control/faults.
func (p *playback) control(w http.ResponseWriter, _ *http.Request) {
	p.ask()
	w.WriteHeader(http.StatusAccepted)
}
