package console

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"microcomm/final/internal/web"
)

const (
	maxStreams    = 64                    // feeds that are read at once
	heartbeat     = 10 * time.Second      // between two signs of life, when nothing happens
	streamTimeout = 5 * time.Second       // for one write; a client that takes longer is cut off
	streamPace    = 40 * time.Millisecond // between two writes: under load, lines go together
	streamBatch   = 512                   // lines in one write
)

// feedHandler is GET /feed: the lines as server-sent events or, with format=ndjson,
// those that the feed has, as a file.
func (s *service) feedHandler(w http.ResponseWriter, r *http.Request) error {
	if s.cfg.Guard.Access.Issuer == "" && misdirected(r) {
		return web.NewProblem(http.StatusMisdirectedRequest, "without access control, this machine's own feed is read at localhost")
	}
	switch format := r.URL.Query().Get("format"); format {
	case "ndjson":
		return s.download(w)
	case "":
		return s.stream(w, r)
	default:
		return web.Invalid(web.FieldErrors{"format": {"must be ndjson, or missing"}})
	}
}

func (s *service) download(w http.ResponseWriter) error {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Content-Disposition", `attachment; filename="microcomm.ndjson"`)
	lines, _ := s.feed.whole()
	for batch := range slices.Chunk(lines, streamBatch) {
		var text bytes.Buffer
		for _, l := range batch {
			text.Write(l.text)
			text.WriteByte('\n')
		}
		if err := s.write(w, text.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// stream sends the lines until the client disconnects or the console stops. A client
// that was connected continues where it was; when those lines are gone, or are another
// run's, it is told to forget everything, and gets the whole.
func (s *service) stream(w http.ResponseWriter, r *http.Request) error {
	if s.streams.Add(1) > maxStreams {
		s.streams.Add(-1)
		return web.Unavailable(w, "too many feeds are being read; retry later")
	}
	defer s.streams.Add(-1)
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		id = r.URL.Query().Get("after")
	}
	position, known := s.feed.position(id)
	if !known {
		var err error
		if position, err = s.sendWhole(w, id != ""); err != nil {
			return err
		}
	}
	quiet := time.NewTimer(heartbeat)
	defer quiet.Stop()
	for {
		lines, grown, ok := s.feed.after(position)
		switch {
		case !ok: // the client is slow: the ring has gone over it
			var err error
			if position, err = s.sendWhole(w, true); err != nil {
				return err
			}
			continue
		case len(lines) > 0:
			lines = lines[:min(len(lines), streamBatch)]
			if err := s.send(w, lines); err != nil {
				return err
			}
			position = lines[len(lines)-1].seq
			quiet.Reset(heartbeat)
			grown = nil
		}
		if stopped, err := s.pause(w, r, grown, quiet); stopped || err != nil {
			return err
		}
	}
}

// pause waits for another line or, after a write, when grown is nil, for a moment. It
// reports whether the stream is to end.
func (s *service) pause(w http.ResponseWriter, r *http.Request, grown <-chan struct{}, quiet *time.Timer) (stopped bool, err error) {
	var moment <-chan time.Time
	if grown == nil {
		moment = time.After(streamPace)
	}
	select {
	case <-grown:
	case <-moment:
	case <-quiet.C:
		quiet.Reset(heartbeat)
		return false, s.write(w, []byte(":\n\n"))
	case <-r.Context().Done():
		return true, nil
	case <-s.stopping:
		return true, nil
	}
	return false, nil
}

// position returns the number in id, RUN-SEQ, and whether the feed has every line after it.
func (f *feed) position(id string) (seq uint64, ok bool) {
	run, text, _ := strings.Cut(id, "-")
	seq, err := strconv.ParseUint(text, 10, 64)
	if err != nil || run != f.run {
		return 0, false
	}
	_, _, ok = f.after(seq)
	return seq, ok
}

// sendWhole sends what the feed has, after a line that says so when the client knows
// something. It returns where the client is then.
func (s *service) sendWhole(w http.ResponseWriter, knows bool) (position uint64, err error) {
	lines, last := s.feed.whole()
	if knows {
		l := line{Version: 1, Time: formatTime(s.feed.now()), Kind: "resync", Subject: "feed", Content: struct{}{}}
		lines = append([]entry{{text: l.encode()}}, lines...)
	}
	for batch := range slices.Chunk(lines, streamBatch) {
		if err := s.send(w, batch); err != nil {
			return 0, err
		}
	}
	return last, nil
}

// send writes lines as server-sent events.
func (s *service) send(w http.ResponseWriter, lines []entry) error {
	var text bytes.Buffer
	for _, l := range lines {
		fmt.Fprintf(&text, "id: %s-%d\ndata: %s\n\n", s.feed.run, l.seq, l.text)
	}
	return s.write(w, text.Bytes())
}

// write writes and flushes. The deadline is for this write alone: the server's own is
// for a whole response, which a stream has no end of.
func (s *service) write(w http.ResponseWriter, text []byte) error {
	connection := http.NewResponseController(w)
	_ = connection.SetWriteDeadline(time.Now().Add(streamTimeout)) // it fails for a ResponseWriter without one
	if _, err := w.Write(text); err != nil {
		return fmt.Errorf("%w: %w", web.ErrDisconnected, err)
	}
	if err := connection.Flush(); err != nil {
		return fmt.Errorf("%w: %w", web.ErrDisconnected, err)
	}
	return nil
}
