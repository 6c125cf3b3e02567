package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// run is one drill in progress: the system, the load on it, and the observations.
type run struct {
	*system
	ctx      context.Context // the script's, as a test has one
	options  options
	progress *progress

	load     *load   // the newest one
	loads    []*load // every one that was started
	extra    []post  // made by the drill itself
	arrivals *arrivals
	listener *listener
	phases   []phase
	ignore   map[string]bool // names outside the load
	probes   int

	history history
	verdict verdict
	facts   []fact
	checks  []check
}

// options are the choices of the command line for every drill.
type options struct {
	short  bool
	keys   bool
	broker string // the URL of a shared broker; empty: each drill starts its own

	access []string // settings of the services for access control; nil: it is off
	bearer *bearer  // what their clients send then
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

// check is one expectation of a drill, and whether it holds.
type check struct {
	Expected string `json:"expected"`
	Got      string `json:"got"`
	OK       bool   `json:"ok"`
}

// expect records a check.
func (r *run) expect(expected string, ok bool, got string, args ...any) {
	r.checks = append(r.checks, check{Expected: expected, Got: fmt.Sprintf(got, args...), OK: ok})
}

// tell records a fact.
func (r *run) tell(name, value string, args ...any) {
	r.facts = append(r.facts, fact{Name: name, Value: fmt.Sprintf(value, args...)})
}

// shortScale is the part of its times and counts that a drill keeps with --short.
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

// retryDelays is a setting of final's CommandsService: its default, or short delays.
func retryDelays(short bool) string {
	if short {
		return "100ms,200ms,400ms"
	}
	return "1s,10s,1m0s"
}

// recovery is how soon after a fault everything has to work again. Short drills run
// side by side, so they only check that it does, not how soon.
func (r *run) recovery() time.Duration {
	if r.options.short {
		return startTimeout
	}
	return 10 * time.Second
}

// expectTime is expect for something that depends on the speed of the machine. Short
// drills run side by side, so they only report it.
func (r *run) expectTime(expected string, ok bool, got string, args ...any) {
	if r.options.short {
		r.tell("Expected "+expected, got, args...)
		return
	}
	r.expect(expected, ok, got, args...)
}

// with returns the history with only those posts.
func (r *run) with(posts []post) history {
	h := r.history
	h.posts = posts
	return h
}

// close ends everything that was started.
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

// in returns the posts that are judged and began in the phases of those names.
func (r *run) in(names ...string) []post { return r.during(r.history.posts, names...) }

// during returns those of all posts that began in the phases of those names. The first
// phase includes earlier ones: the load starts a moment before it.
func (r *run) during(all []post, names ...string) []post {
	var posts []post
	for i, ph := range r.phases {
		if !slices.Contains(names, ph.name) {
			continue
		}
		for _, p := range all {
			if i > 0 && p.begun.Before(ph.begun) || i+1 < len(r.phases) && !p.begun.Before(r.phases[i+1].begun) {
				continue
			}
			posts = append(posts, p)
		}
	}
	return posts
}

// ended returns the posts that began and ended in the first phase of that name.
func (r *run) ended(name string) []post {
	next := slices.IndexFunc(r.phases, func(ph phase) bool { return ph.name == name }) + 1
	return slices.DeleteFunc(r.in(name), func(p post) bool { return next < len(r.phases) && !p.done.Before(r.phases[next].begun) })
}

// latencyIn is how long the accepted POSTs of a phase took.
func (r *run) latencyIn(phase string) quantiles { return judge(r.with(r.in(phase))).latency }

// rounded rounds a duration for people to read.
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
