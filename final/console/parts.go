package console

import (
	"sync"
	"time"
)

// The states of a part.
const (
	up       = "up"
	down     = "down"
	paused   = "paused"
	starting = "starting"
)

// parts are the states of the boxes on the map. A change becomes a line.
type parts struct {
	feed  *feed
	boxes map[string]bool // those that this stage has

	mu   sync.Mutex
	seen map[string]partContent // by id and replica: what was last said
	held map[string]partContent // by id: what lab says, which beats a failed probe

	failed map[string]int // by id: how often it was seen in a state other than up
}

func newParts(f *feed, boxes []part) *parts {
	p := &parts{feed: f, boxes: map[string]bool{}, seen: map[string]partContent{}, held: map[string]partContent{}, failed: map[string]int{}}
	for _, box := range boxes {
		p.boxes[box.ID] = true
	}
	return p
}

// report says what a probe has found. What lab has done to the part explains it better.
func (p *parts) report(id string, content partContent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if held, ok := p.held[id]; ok {
		if content.State == up && held.State != paused {
			content.Detail = held.Detail
		} else {
			content = held
		}
	}
	p.say(time.Now(), id, content)
}

// hold takes what lab says about a part it has started, stopped or slowed down.
func (p *parts) hold(at time.Time, id string, content partContent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, id)
	if content.State != up || content.Detail != "" {
		p.held[id] = content
	}
	p.say(at, id, content)
}

func (p *parts) say(at time.Time, id string, content partContent) {
	key := id + " " + content.Replica
	if p.boxes[id] && p.seen[key] != content {
		p.seen[key] = content
		if content.State != up {
			p.failed[id]++
		}
		p.feed.add(at, "part", "part/"+id, content)
	}
}

// failures returns how often a part has been seen not to work.
func (p *parts) failures(id string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed[id]
}
