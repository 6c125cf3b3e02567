package main

import (
	"slices"
	"time"
)

// outcome is what a client knows about its POST.
type outcome int

const (
	unknown  outcome = iota // no response, or an ambiguous one: the platform may exist or not
	accepted                // 201: the platform exists, and nothing may lose it
	refused                 // a 4xx or 503: the platform does not exist
)

// post is one POST /api/platforms, its retries included.
type post struct {
	name       string
	begun      time.Time
	sent, done time.Time // of the last attempt
	outcome    outcome
	status     int   // of the last attempt; 0: no response
	err        error // of the last attempt, when there was no response
	retryAfter bool
	attempts   int
	cutOff     int // attempts that reached the service and got no response
}

// latency is how long the last attempt took.
func (p post) latency() time.Duration { return p.done.Sub(p.sent) }

// platform is one as a service lists it.
type platform struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
}

// event is one that the second subscriber received.
type event struct {
	ID   int32
	Name string
}

// history is everything that is judged.
type history struct {
	posts     []post
	ignore    map[string]bool      // names outside the load: seed data, probes
	platforms []platform           // PlatformService's list at the end
	commands  []platform           // CommandsService's list at the end
	arrived   map[string]time.Time // when a name was first seen in CommandsService
	gaps      []gap                // when CommandsService did not answer
	events    []event              // what the second subscriber received; nil: there was none
}

// verdict is the judgement on a history. Each list of names is sorted.
type verdict struct {
	accepted, refused, unknown int
	retried                    int // sent again, under the same key

	arrived    int      // accepted, and in CommandsService
	missing    []string // accepted, and not in CommandsService or not in PlatformService
	untold     []string // in PlatformService, whatever the outcome, and not in CommandsService
	duplicated []string // more than once in either list
	phantom    []string // in either list, and neither accepted nor unknown
	mismatched []string // in both lists under different ids

	latency quantiles // of the accepted POSTs
	arrival quantiles // from the 201 until readable in CommandsService, where that is known

	hasEvents      bool
	eventsSeen     int // different platforms that the second subscriber received
	eventsRepeated int // events that it received again
	eventsMissing  int // accepted platforms that it did not receive
}

// judge compares the outcomes with the lists of the services, as Jepsen's set checker
// does: an accepted platform must exist, a refused one must not, and an unknown one may
// exist once.
func judge(h history) verdict {
	var v verdict
	inPlatforms, inCommands := index(h.platforms), index(h.commands)
	v.judgePosts(h, inPlatforms, inCommands)
	v.judgeLists(h, inPlatforms, inCommands)
	for _, names := range [][]string{v.missing, v.untold, v.duplicated, v.phantom, v.mismatched} {
		slices.Sort(names)
	}
	return v
}

// judgePosts counts the outcomes, and finds the accepted platforms that are missing.
func (v *verdict) judgePosts(h history, inPlatforms, inCommands map[string][]int32) {
	events := map[string]int{}
	for _, e := range h.events {
		events[e.Name]++
	}
	v.hasEvents = h.events != nil
	var latencies, arrivals []time.Duration
	for _, p := range h.posts {
		if p.attempts > 1 {
			v.retried++
		}
		switch p.outcome {
		case refused:
			v.refused++
			continue
		case unknown:
			v.unknown++
			continue
		}
		v.accepted++
		latencies = append(latencies, p.latency())
		if len(inCommands[p.name]) > 0 {
			v.arrived++
		}
		if len(inCommands[p.name]) == 0 || len(inPlatforms[p.name]) == 0 {
			v.missing = append(v.missing, p.name)
		}
		at, ok := h.arrived[p.name]
		if ok && !slices.ContainsFunc(h.gaps, func(g gap) bool { return g.hides(p.done, at) }) {
			arrivals = append(arrivals, max(0, at.Sub(p.done)))
		}
		if v.hasEvents && events[p.name] == 0 {
			v.eventsMissing++
		}
	}
	for name, n := range events {
		if !h.ignore[name] {
			v.eventsSeen++
			v.eventsRepeated += n - 1
		}
	}
	v.latency, v.arrival = quantilesOf(latencies), quantilesOf(arrivals)
}

// judgeLists compares the lists of both services with each other and with the outcomes.
func (v *verdict) judgeLists(h history, inPlatforms, inCommands map[string][]int32) {
	outcomes := map[string]outcome{}
	for _, p := range h.posts {
		outcomes[p.name] = p.outcome
	}
	for name, ids := range inPlatforms {
		if h.ignore[name] {
			continue
		}
		if len(inCommands[name]) == 0 {
			v.untold = append(v.untold, name)
		} else if inCommands[name][0] != ids[0] {
			v.mismatched = append(v.mismatched, name)
		}
	}
	for name := range union(inPlatforms, inCommands) {
		if h.ignore[name] {
			continue
		}
		if len(inPlatforms[name]) > 1 || len(inCommands[name]) > 1 {
			v.duplicated = append(v.duplicated, name)
		}
		if outcome, posted := outcomes[name]; !posted || outcome == refused {
			v.phantom = append(v.phantom, name)
		}
	}
}

// index returns the ids under each name, in the order of the list.
func index(list []platform) map[string][]int32 {
	ids := make(map[string][]int32, len(list))
	for _, p := range list {
		ids[p.Name] = append(ids[p.Name], p.ID)
	}
	return ids
}

func union(a, b map[string][]int32) map[string]bool {
	names := make(map[string]bool, len(a))
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}

// quantiles summarise a set of durations.
type quantiles struct {
	n             int
	p50, p99, max time.Duration
}

func quantilesOf(d []time.Duration) quantiles {
	if len(d) == 0 {
		return quantiles{}
	}
	slices.Sort(d)
	at := func(percent int) time.Duration { return d[(len(d)-1)*percent/100] }
	return quantiles{n: len(d), p50: at(50), p99: at(99), max: d[len(d)-1]}
}
