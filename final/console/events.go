package console

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"microcomm/final/internal/bus"
)

// platformPublished is the event as a subscriber reads it.
type platformPublished struct {
	ID    int32  `json:"Id"`
	Name  string `json:"Name"`
	Event string `json:"Event"`
}

// takeEvents adds the events that arrive to the journey, until ctx ends.
func (s *service) takeEvents(ctx context.Context, events <-chan bus.Message) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-events:
			s.journey.event(m, time.Now())
		}
	}
}

// event adds the hop of an event that the exchange has passed to its queues: the
// console has one of its own. It says which platform a message is about, so what else
// is known of the message can be put in its place.
func (j *journey) event(m bus.Message, at time.Time) {
	j.mu.Lock()
	defer j.mu.Unlock()
	h := hopContent{Hop: "published", Message: m.ID, From: "event"}
	if fields := strings.Split(m.Headers["traceparent"], "-"); len(fields) == 4 {
		h.Trace = fields[1]
	}
	var event platformPublished
	switch err := json.Unmarshal(m.Body, &event); {
	case err != nil:
		h.Reason = "the body is not JSON"
	case event.Event != "Platform_Published":
		h.Reason = "another event: " + short(event.Event)
	case event.ID < 1 || event.Name == "":
		h.Reason = "the event has no id or no name"
	default:
		h.ID, h.Name = event.ID, short(event.Name)
		j.name(m.ID, h.ID, h.Name)
	}
	j.add(h, time.Time{}, at)
}
