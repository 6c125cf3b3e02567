package console

import (
	"crypto/rand"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	ringLines = 8192    // lines that the feed keeps, at most
	ringBytes = 4 << 20 // and bytes of them
	baseNames = 2000    // names of a list that are kept when their lines are not
	hopsLimit = 1000    // hops in one second; more are left out
	hopsSpare = 100     // of these, for the hops of failures
)

// feed keeps the latest lines in a ring, for any number of streams: each has a
// position in the ring, so one that is slow costs nothing and delays no other. What
// leaves the ring and still holds, such as the state of a part, is kept beside it.
// So the whole is always: the run, the state, the ring.
type feed struct {
	run string
	now func() time.Time

	mu    sync.Mutex
	seq   uint64
	first entry // the line of kind run
	ring  []entry
	bytes int
	state map[string]entry // by kind and subject: what has left the ring
	lists map[string]*listBase
	grown chan struct{} // closed when there is a new line

	second int64 // that hops are counted in
	hops   int
	left   int // hops that were left out
}

// entry is a line, encoded.
type entry struct {
	seq  uint64
	text []byte
	key  string       // of the state that it sets; empty: none
	list *listContent // the change of a list
	at   time.Time
}

// listBase is a list as the lines that have left the ring say.
type listBase struct {
	seq   uint64
	at    time.Time
	names map[int32]string
	total int
}

func newFeed(now func() time.Time) *feed {
	return &feed{run: rand.Text(), now: now, state: map[string]entry{}, lists: map[string]*listBase{}, grown: make(chan struct{})}
}

// begin adds the first line. The feed gives the run its id.
func (f *feed) begin(content runContent) {
	content.Run = f.run
	f.mu.Lock()
	defer f.mu.Unlock()
	f.first = f.encode(f.now(), "run", "run", content)
	f.wake()
}

// add adds a line: at that time this happened to subject. Above a number of hops in
// a second it leaves out the others.
func (f *feed) add(at time.Time, kind, subject string, content any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextSecond()
	if hop, ok := content.(hopContent); ok && f.tooMany(hop) {
		f.left++
		return
	}
	e := f.encode(at, kind, subject, content)
	switch content := content.(type) {
	case partContent:
		e.key = kind + " " + subject + " " + content.Replica
	case listContent:
		e.list = &content
		e.key = subject
	case hopContent:
	default:
		if kind == "queue" || kind == "gauge" {
			e.key = kind + " " + subject
		}
	}
	f.append(e)
}

// tooMany reports whether the hop is one too many in this second. Failures are
// rare, and what people look for: some room is theirs.
func (f *feed) tooMany(hop hopContent) bool {
	limit := hopsLimit
	switch hop.Hop {
	case "refused", "retried", "dead_lettered", "replayed", "dropped":
	default:
		limit -= hopsSpare
	}
	if f.hops >= limit {
		return true
	}
	f.hops++
	return false
}

// nextSecond says how many hops were left out in the second that has ended.
func (f *feed) nextSecond() {
	now := f.now()
	if second := now.Unix(); second != f.second {
		left := f.left
		f.second, f.hops, f.left = second, 0, 0
		if left > 0 {
			f.append(f.encode(now, "sampled", "feed", map[string]int{"left": left}))
		}
	}
}

// tick is called once a second, so that the last lines of a burst are followed by
// the number of those left out.
func (f *feed) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nextSecond()
}

// leave counts lines that were left out before they got here.
func (f *feed) leave(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.left += n
}

func (f *feed) encode(at time.Time, kind, subject string, content any) entry {
	f.seq++
	l := line{Version: 1, Seq: f.seq, Time: formatTime(at), Kind: kind, Subject: subject, Content: content}
	return entry{seq: f.seq, at: at, text: l.encode()}
}

func (f *feed) append(e entry) {
	f.ring = append(f.ring, e)
	f.bytes += len(e.text)
	n := 0 // how many leave
	for len(f.ring)-n > ringLines || f.bytes > ringBytes {
		f.retire(f.ring[n])
		f.bytes -= len(f.ring[n].text)
		f.ring[n] = entry{}
		n++
	}
	f.ring = f.ring[n:] // append moves it when it is at the end of its array
	f.wake()
}

// retire keeps what a line that leaves the ring says and still holds.
func (f *feed) retire(e entry) {
	switch {
	case e.list != nil:
		base := f.lists[e.key]
		if base == nil {
			base = &listBase{names: map[int32]string{}}
			f.lists[e.key] = base
		}
		base.apply(e)
	case e.key != "":
		f.state[e.key] = e
	}
}

func (b *listBase) apply(e entry) {
	for _, id := range e.list.Removed {
		delete(b.names, id)
	}
	for _, added := range e.list.Added {
		b.names[added.ID] = added.Name
	}
	b.seq, b.at, b.total = e.seq, e.at, e.list.Total
	if len(b.names) > baseNames {
		ids := slices.Sorted(maps.Keys(b.names))
		for _, id := range ids[:len(ids)-baseNames] {
			delete(b.names, id)
		}
	}
}

// line returns the base as one line.
func (b *listBase) line(subject string) entry {
	content := listContent{Added: []item{}, Total: b.total}
	for _, id := range slices.Sorted(maps.Keys(b.names)) {
		content.Added = append(content.Added, item{id, b.names[id]})
	}
	l := line{Version: 1, Seq: b.seq, Time: formatTime(b.at), Kind: "list", Subject: subject, Content: content}
	return entry{seq: b.seq, text: l.encode()}
}

func (f *feed) wake() {
	close(f.grown)
	f.grown = make(chan struct{})
}

// after returns the lines after seq, and ok = false when some of them have left the
// ring. grown is closed when there is another.
func (f *feed) after(seq uint64) (lines []entry, grown <-chan struct{}, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if seq > f.seq {
		return nil, nil, false
	}
	if len(f.ring) == 0 {
		return nil, f.grown, true
	}
	oldest := f.ring[0].seq
	if seq+1 < oldest {
		return nil, nil, false
	}
	return slices.Clone(f.ring[seq+1-oldest:]), f.grown, true
}

// whole returns everything that a reader needs who knows nothing: the run, what
// holds, and the ring. Lines are in the order of their numbers.
func (f *feed) whole() (lines []entry, last uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := slices.Collect(maps.Values(f.state))
	for subject, base := range f.lists {
		kept = append(kept, base.line(subject))
	}
	slices.SortFunc(kept, func(a, b entry) int { return int(int64(a.seq) - int64(b.seq)) })
	return slices.Concat([]entry{f.first}, kept, f.ring), f.seq
}
