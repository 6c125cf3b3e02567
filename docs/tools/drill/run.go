package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// run is one drill under way: the system, the load on it, and what is seen.
type run struct {
	*system
	ctx      context.Context // of the script, as a test has one
	options  options
	progress *progress

	load     *load   // the one that is running
	loads    []*load // all that were started
	extra    []post  // made by the drill itself
	arrivals *arrivals
	listener *listener
	phases   []phase
	ignore   map[string]bool // names that are no part of the load
	probes   int

	history history
	verdict verdict
	facts   []fact
	checks  []check
}

// options are what the command line chose for every drill.
type options struct {
	short  bool
	keys   bool
	broker string // the URL of one that may be shared; empty: each drill starts its own
}

// phase is a stretch of a run. It lasts until the next one begins.
type phase struct {
	name  string
	begun time.Time
}

// fact is a figure that only this drill has.
type fact struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// check is one thing that a drill expects, and whether it was so.
type check struct {
	Expected string `json:"expected"`
	Got      string `json:"got"`
	OK       bool   `json:"ok"`
}

// expect notes a check.
func (r *run) expect(expected string, ok bool, got string, args ...any) {
	r.checks = append(r.checks, check{Expected: expected, Got: fmt.Sprintf(got, args...), OK: ok})
}

// tell notes a fact.
func (r *run) tell(name, value string, args ...any) {
	r.facts = append(r.facts, fact{Name: name, Value: fmt.Sprintf(value, args...)})
}

// shortScale is how much of its time and counts a drill keeps with --short.
const shortScale = 0.2

// times scales a duration, and count a number, for --short.
func (r *run) times(d time.Duration) time.Duration {
	if r.options.short {
		return time.Duration(float64(d) * shortScale)
	}
	return d
}

func (r *run) count(n int) int {
	if r.options.short {
		return int(math.Ceil(float64(n) * shortScale))
	}
	return n
}

// retryDelays are those of final's CommandsService: its defaults, or short ones.
func retryDelays(short bool) string {
	if short {
		return "100ms,200ms,400ms"
	}
	return "1s,10s,1m0s"
}

// recovery is how soon after a fault everything has to work again. A short drill
// is run beside others: it finds out that it does, and not how soon.
func (r *run) recovery() time.Duration {
	if r.options.short {
		return startTimeout
	}
	return 10 * time.Second
}

// expectTime is expect of something that depends on how fast the machine is: a
// short drill, which is run beside others, only tells it.
func (r *run) expectTime(expected string, ok bool, got string, args ...any) {
	if r.options.short {
		r.tell("Expected "+expected, got, args...)
		return
	}
	r.expect(expected, ok, got, args...)
}

// with is the history with those posts alone.
func (r *run) with(posts []post) history {
	h := r.history
	h.posts = posts
	return h
}

// close ends everything that was begun.
func (r *run) close() {
	for _, l := range r.loads {
		l.stop()
	}
	if r.arrivals != nil {
		r.arrivals.stop()
	}
	if r.listener != nil {
		r.listener.stop()
	}
	r.system.close(r.progress)
}

// in selects the posts that were begun in the phases of those names. The first
// phase has those before it, too: the load begins a moment earlier.
func (r *run) in(names ...string) []post {
	var posts []post
	for i, ph := range r.phases {
		if !slices.Contains(names, ph.name) {
			continue
		}
		for _, p := range r.history.posts {
			if i > 0 && p.begun.Before(ph.begun) || i+1 < len(r.phases) && !p.begun.Before(r.phases[i+1].begun) {
				continue
			}
			posts = append(posts, p)
		}
	}
	return posts
}

// latencyIn is how long the accepted POSTs of a phase took.
func (r *run) latencyIn(phase string) quantiles { return judge(r.with(r.in(phase))).latency }

// rounded is a duration as people read it.
func rounded(d time.Duration) time.Duration {
	if d > 10*time.Second {
		return d.Round(time.Second)
	}
	if d > 100*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(max(b, 1)) }

// upTo is a random time, less than d.
func upTo(d time.Duration) time.Duration { return rand.N(d) }
