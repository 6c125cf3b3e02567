package console

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// The names of attributes and events that the services give their spans, beside those
// of the OpenTelemetry conventions.
const (
	attrPlatformID   = "microcomm.platform.id"
	attrPlatformName = "microcomm.platform.name"
	attrReplayed     = "microcomm.idempotency.replayed"
	attrOutcome      = "microcomm.outcome"
	attrAttempt      = "microcomm.attempt"
	attrMessage      = "messaging.message.id"
	eventCommitted   = "committed"
	eventStored      = "stored"
	eventAttempt     = "attempt"
)

// maxKnown bounds what the journey remembers.
const maxKnown = 10_000

// journey makes hops of spans and events. It remembers which platform the latest
// messages are about, because a span of the relay knows the message alone.
type journey struct {
	mu    sync.Mutex
	feed  *feed
	known map[string]known // by message id
	order []string         // of known, the oldest first

	seen    map[string]map[int32]bool // by hop: the platforms whose accepted and stored hops were seen
	waiting []waiting                 // platforms of the lists whose hops were not
	fetched int                       // platforms that the backfill has stored so far; -1: not known yet
	credit  int                       // of these, those that were not seen in the list yet
	since   time.Time                 // when there was another
	spans   bool                      // the stage has spans
}

// known is what is known of a message.
type known struct {
	id        int32
	name      string
	committed time.Time
}

func newJourney(f *feed, spans bool) *journey {
	return &journey{feed: f, known: map[string]known{}, spans: spans, fetched: -1,
		seen: map[string]map[int32]bool{"accepted": {}, "stored": {}}}
}

// span adds the hops that a span shows.
func (j *journey) span(s span) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case s.kind == trace.SpanKindServer && s.text["http.request.method"] == "POST" && s.text["http.route"] == "/api/platforms":
		j.posted(s)
	case s.kind == trace.SpanKindProducer && strings.HasPrefix(s.name, "publish "):
		j.published(s)
	case s.kind == trace.SpanKindConsumer && strings.HasPrefix(s.name, "process "):
		j.processed(s)
	case strings.HasPrefix(s.name, "settle "):
		j.settled(s)
	case s.kind == trace.SpanKindClient && s.service == "platformservice" && s.name == "POST":
		j.notified(s)
	}
}

// hop returns a hop of span's with what is known of its platform.
func (j *journey) hop(s span, name string) hopContent {
	h := hopContent{Hop: name, Trace: s.trace, Message: s.text[attrMessage], Replica: s.replica, From: "span",
		ID: int32(s.number[attrPlatformID]), Name: short(s.text[attrPlatformName])}
	if k, ok := j.known[h.Message]; ok && h.ID == 0 {
		h.ID, h.Name = k.id, k.name
	}
	return h
}

// add adds a hop that took from start to end.
func (j *journey) add(h hopContent, start, end time.Time) {
	if ids := j.seen[h.Hop]; ids != nil && h.ID != 0 {
		ids[h.ID] = true
		if len(ids) > maxKnown {
			clear(ids)
		}
	}
	if start.After(end) { // clocks differ
		start = end
	}
	if !start.IsZero() {
		h.Start = formatTime(start)
		h.MS = float64(end.Sub(start).Microseconds()) / 1000
	}
	j.feed.add(end, "hop", h.subject(), h)
}

func (j *journey) posted(s span) {
	status := s.number["http.response.status_code"]
	if status != 201 {
		h := j.hop(s, "refused")
		h.Reason = fmt.Sprint(status)
		j.add(h, s.start, s.end)
		return
	}
	h := j.hop(s, "accepted")
	if s.text[attrReplayed] == "true" {
		h.Reason = "the key was used before: the first response again"
	}
	j.remember(h.Message, known{h.ID, h.Name, s.events[eventCommitted]})
	j.add(h, s.start, s.end)
}

// published adds the three hops of the relay. The event waits in the outbox from the
// commit on, or from its row's time when the POST's span is not known.
func (j *journey) published(s span) {
	if s.failed { // another relay publishes it
		return
	}
	committed := j.known[s.text[attrMessage]].committed
	if committed.IsZero() {
		committed = s.events[eventStored]
	}
	sent := s.start
	if again, ok := s.events[eventAttempt]; ok { // the bus was down, and the event waited in the outbox
		sent = again
	}
	j.add(j.hop(s, "outbox"), committed, sent)
	j.add(j.hop(s, "relay"), sent, sent)
	j.add(j.hop(s, "confirmed"), sent, s.end)
}

func (j *journey) processed(s span) {
	if h := j.hop(s, ""); h.ID != 0 {
		j.name(h.Message, h.ID, h.Name)
	}
	j.add(j.hop(s, "delivered"), time.Time{}, s.start)
	if !s.failed && s.number[attrPlatformID] != 0 {
		j.add(j.hop(s, "stored"), s.start, s.end)
	}
}

func (j *journey) settled(s span) {
	h := j.hop(s, s.text[attrOutcome])
	h.Attempt, h.Reason = int(s.number[attrAttempt]), s.reason
	switch h.Hop {
	case "acknowledged", "retried", "dead_lettered":
		j.add(h, s.start, s.end)
	}
}

func (j *journey) notified(s span) {
	h := j.hop(s, "notified")
	h.Reason = s.reason
	j.add(h, s.start, s.end)
}

// name remembers which platform a message is about.
func (j *journey) name(message string, id int32, name string) {
	k := j.known[message]
	k.id, k.name = id, name
	j.remember(message, k)
}

// remember keeps what is known of a message, and forgets the oldest.
func (j *journey) remember(message string, k known) {
	if message == "" {
		return
	}
	if _, ok := j.known[message]; !ok {
		j.order = append(j.order, message)
	}
	j.known[message] = k
	if len(j.order) > maxKnown {
		delete(j.known, j.order[0])
		j.order = j.order[1:]
	}
}

// spanPatience is how long a span may take to arrive after what it tells is in a list.
const spanPatience = 2 * time.Second

// waiting is a platform that is new in a list.
type waiting struct {
	hop string
	item
	at time.Time
}

// listed takes what is new in a list. Where the spans don't tell, the list does: a
// stage without them, a span that was lost, or a platform that came by the backfill.
func (j *journey) listed(part string, added []item) {
	j.mu.Lock()
	defer j.mu.Unlock()
	hop := "accepted"
	if part == "commandsservice" {
		hop = "stored"
	}
	if j.spans && len(j.waiting)+len(added) > listLimit {
		return // most are those whose spans were left out
	}
	for _, i := range added {
		j.waiting = append(j.waiting, waiting{hop, i, time.Now()})
	}
}

// unseen adds the hops of platforms in the lists whose spans did not arrive.
func (j *journey) unseen(now time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	rest := j.waiting[:0]
	for _, w := range j.waiting {
		switch {
		case j.spans && j.seen[w.hop][w.ID]:
		case j.spans && now.Sub(w.at) < spanPatience:
			rest = append(rest, w)
		default:
			h := hopContent{Hop: w.hop, ID: w.ID, Name: w.Name, From: "list"}
			if w.hop == "stored" && j.credit > 0 && now.Sub(j.since) < 3*spanPatience {
				j.credit--
				h.Hop = "backfilled"
			}
			j.add(h, time.Time{}, w.at)
		}
	}
	j.waiting = rest
}

// backfilled takes how many platforms the backfill has stored in all.
func (j *journey) backfilled(total int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.fetched < 0:
		j.fetched = total // before the console was there
	case total < j.fetched:
		j.fetched = 0 // CommandsService was started again
	}
	if total > j.fetched {
		j.credit, j.since = total-j.fetched, time.Now()
	}
	j.fetched = total
}
