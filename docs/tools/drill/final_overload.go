package main

import (
	"context"
	"fmt"
	"time"
)

// overload posts from ten times as many clients as PlatformService serves at once.
func overload(ctx context.Context, r *run) error {
	const inFlight = 32
	if _, err := r.pair(); err != nil {
		return err
	}
	platforms := r.platforms[0]
	platforms.env = append(platforms.env, fmt.Sprintf("HTTP_MAX_IN_FLIGHT=%d", inFlight))
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	usage := sample(ctx, r.client, platforms)
	defer usage.stop()
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.load.stop()

	r.phase("at capacity")
	r.startLoad(ctx, loadConfig{clients: inFlight})
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.load.stop()

	r.phase("overload")
	r.startLoad(ctx, loadConfig{clients: 10 * inFlight})
	length := r.times(30 * time.Second)
	if err := r.lasts(ctx, length); err != nil {
		return err
	}
	r.load.stop()

	r.phase(after)
	r.startLoad(ctx, usual())
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	capacity, overloaded := r.latencyIn("at capacity"), r.latencyIn("overload")
	var refusals []time.Duration
	lost, others, other := 0, 0, "" // the last: what became of one of the others
	for _, p := range r.in("overload") {
		switch {
		case p.status == 503 && p.retryAfter:
			refusals = append(refusals, p.latency())
		case p.status == 0 && r.options.short:
			// It runs beside other drills then, on as many processors: what becomes of
			// this one is judged with the other unknowns.
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
	// As many requests as are served at once make each wait for the others, too:
	// that, and not an idle service, is what overload may not make much worse.
	bound := 10 * capacity.p99
	r.expectTime("those accepted to take at most ten times as long as at capacity (p99)", overloaded.n > 0 && overloaded.p99 <= bound,
		"%s, and %s at capacity: %.1f times", rounded(overloaded.p99), rounded(capacity.p99), ratio(overloaded.p99, capacity.p99))
	r.expect("the others to get a 503 with Retry-After", refused.n > 0 && others == 0, "%d did, %d got something else%s", refused.n, others, other)
	r.expectTime("these to come as soon (p99)", refused.n > 0 && refused.p99 <= bound, "%s", rounded(refused.p99))
	usage.stop()
	r.expectBounded(platforms, usage, 128)
	r.expectComplete()
	return nil
}
