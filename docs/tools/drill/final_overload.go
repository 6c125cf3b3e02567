package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// overload posts from ten times as many clients as PlatformService serves at once.
func overload(r *run) {
	const inFlight = 32
	const length = 30 * time.Second
	platforms, _ := r.pair()
	platforms.env = append(platforms.env, fmt.Sprintf("HTTP_MAX_IN_FLIGHT=%d", inFlight))
	r.begin(usual())
	usage := sample(r.ctx, r.client, platforms)
	defer usage.stop()
	r.lasts(5 * time.Second)
	r.load.stop()

	r.phase("at capacity")
	r.startLoad(loadConfig{clients: inFlight})
	r.lasts(5 * time.Second)
	r.load.stop()

	r.phase("overload")
	r.startLoad(loadConfig{clients: 10 * inFlight})
	r.lasts(length)
	// On a slow machine the clients need some time until they overload anything.
	get(r.within(startTimeout, func(context.Context) error {
		if !slices.ContainsFunc(r.during(r.load.history(), "overload"), func(p post) bool { return p.outcome == refused }) {
			return errors.New("no POST of the overload was refused")
		}
		return nil
	}))
	r.load.stop()

	r.phase(after)
	r.startLoad(usual())
	r.lasts(5 * time.Second)
	r.finish()
	r.expectBriskRefusals(r.times(length))
	usage.stop()
	r.expectBounded(platforms, usage, 128)
	r.expectComplete()
}

// expectBriskRefusals expects every POST of the overload to be accepted or refused
// almost as fast as at capacity.
func (r *run) expectBriskRefusals(length time.Duration) {
	capacity, overloaded := r.latencyIn("at capacity"), r.latencyIn("overload")
	var refusals []time.Duration
	lost, others, other := 0, 0, "" // other describes one of the others
	for _, p := range r.in("overload") {
		switch {
		case p.status == 503 && p.retryAfter:
			refusals = append(refusals, p.latency())
		case p.status == 0 && r.options.short:
			// A short drill shares its processors with others. What became of this POST is
			// judged with the other unknowns.
			lost++
		case p.outcome != accepted:
			others++
			other = fmt.Sprintf(": status %d, error %v", p.status, p.err)
		}
	}
	refused := quantilesOf(refusals)
	r.tell("POSTs a second under overload", "%.0f accepted, %.0f refused",
		float64(overloaded.n)/length.Seconds(), float64(refused.n)/length.Seconds())
	if lost > 0 {
		r.tell("POSTs without a response", "%d", lost)
	}
	// At capacity each request already waits for the others. Overload may not make
	// that much worse; an idle service would be no fair comparison.
	bound := 10 * capacity.p99
	r.expectTime("those accepted to take at most ten times as long as at capacity (p99)", overloaded.n > 0 && overloaded.p99 <= bound,
		"%s, and %s at capacity: %.1f times", rounded(overloaded.p99), rounded(capacity.p99), ratio(overloaded.p99, capacity.p99))
	r.expect("the others to get a 503 with Retry-After", refused.n > 0 && others == 0, "%d did, %d got something else%s", refused.n, others, other)
	r.expectTime("these to arrive as soon (p99)", refused.n > 0 && refused.p99 <= bound, "%s", rounded(refused.p99))
}
