package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// run is one drill under way: the system, the load on it, and what is seen.
type run struct {
	*system
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

// phase begins a stretch of the run that has figures of its own.
func (r *run) phase(name string) {
	r.phases = append(r.phases, phase{name, time.Now()})
	r.progress.say("%s", name)
}

// prepare starts the system and waits until a platform gets through it.
func (r *run) prepare(ctx context.Context) error {
	if err := r.start(ctx); err != nil {
		return err
	}
	if err := r.flows(ctx); err != nil {
		return err
	}
	seeded, err := r.client.list(ctx, r.platforms, platformsPath)
	if err != nil {
		return err
	}
	for _, p := range seeded {
		r.ignore[p.Name] = true
	}
	return nil
}

// begin prepares the system, and then starts to watch it and the load.
func (r *run) begin(ctx context.Context, cfg loadConfig) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if err := r.watch(ctx); err != nil {
		return err
	}
	r.startLoad(ctx, cfg)
	r.phase(before)
	return nil
}

// watch notes from now on what arrives in CommandsService, and what a second
// subscriber hears.
func (r *run) watch(ctx context.Context) error {
	r.arrivals = watchArrivals(ctx, r.client, r.commands)
	if r.brokerURL != "" {
		r.listener = listen(ctx, r.brokerURL, r.exchange())
		select {
		case <-r.listener.bound:
		case <-time.After(startTimeout):
			return errors.New("the second subscriber cannot listen to " + r.exchange())
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// startLoad starts the load, with what the options say of it.
func (r *run) startLoad(ctx context.Context, cfg loadConfig) {
	for _, s := range r.platforms {
		cfg.targets = append(cfg.targets, s.url)
	}
	cfg.keys = cfg.keys || r.options.keys
	r.load = startLoad(ctx, cfg, fmt.Sprintf("drill-%d", len(r.loads)+1))
	r.loads = append(r.loads, r.load)
	r.progress.follow(r.load)
}

// lasts lets the present state of things go on for some time. It fails when a
// service ends by itself meanwhile.
func (r *run) lasts(ctx context.Context, d time.Duration) error {
	over := time.NewTimer(d)
	defer over.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-over.C:
			return r.alive()
		case <-tick.C:
			if err := r.alive(); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// flows waits until new platforms get from PlatformService to CommandsService. A
// probe may be lost on its way: then there is another. And one alone may have got
// there by a backfill, which comes once: so two in a row have to.
func (r *run) flows(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for arrived := 0; arrived < 2; {
		r.probes++
		name := fmt.Sprintf("probe-%d", r.probes)
		r.ignore[name] = true
		if err := r.alive(); err != nil {
			return err
		}
		err := r.probe(ctx, name)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("no platform gets from PlatformService to CommandsService: %w", err)
		}
		arrived++
		if err != nil {
			arrived = 0
		}
	}
	return nil
}

// probeWait is how long a probe may take. A relay that asks its database for
// events once a second needs a little more than that.
const probeWait = 2 * time.Second

// probe creates one platform and waits until it can be read in CommandsService.
func (r *run) probe(ctx context.Context, name string) error {
	probing, cancel := context.WithTimeout(ctx, probeWait)
	defer cancel()
	_, last := r.client.create(probing, r.up(r.platforms), name)
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		list, err := r.client.list(probing, r.commands, commandsPath)
		if slices.ContainsFunc(list, func(p platform) bool { return p.Name == name }) {
			return nil
		}
		if last == nil {
			last = err
		}
		select {
		case <-poll.C:
		case <-probing.Done():
			if last == nil {
				last = fmt.Errorf("%s did not arrive within %s", name, probeWait)
			}
			return last
		}
	}
}

// up is a replica that is not down.
func (r *run) up(services []*service) *service {
	for _, s := range services {
		if !s.down.Load() {
			return s
		}
	}
	return services[0]
}

// finish ends the load, lets what is on its way arrive, reads both services and
// judges. Quiet is how long nothing may arrive before what has not is given up.
func (r *run) finish(ctx context.Context, quiet time.Duration) error {
	r.progress.say("ending the load")
	r.load.stop()
	r.progress.say("settling")
	if err := r.settle(ctx, quiet); err != nil {
		return err
	}
	return r.judge(ctx)
}

// settle waits until CommandsService has all that PlatformService has, or
// nothing has arrived for the time of quiet.
func (r *run) settle(ctx context.Context, quiet time.Duration) error {
	begun := time.Now()
	for {
		list, err := r.client.list(ctx, r.platforms, platformsPath)
		if err != nil {
			return err
		}
		rest := 0
		for _, p := range list {
			if !r.ignore[p.Name] && !r.arrivals.has(p.Name) {
				rest++
			}
		}
		newest := r.arrivals.newest()
		if newest.Before(begun) {
			newest = begun
		}
		if rest == 0 || time.Since(newest) > quiet {
			return nil
		}
		if err := r.lasts(ctx, arrivalPause(list)); err != nil {
			return err
		}
	}
}

// judge reads both services and judges all that has happened so far.
func (r *run) judge(ctx context.Context) error {
	h := history{posts: slices.Clone(r.extra), ignore: r.ignore}
	h.arrived, h.gaps = r.arrivals.seen()
	for _, l := range r.loads {
		h.posts = append(h.posts, l.history()...)
	}
	var err error
	if h.platforms, err = r.client.list(ctx, r.platforms, platformsPath); err != nil {
		return err
	}
	if h.commands, err = r.client.list(ctx, r.commands, commandsPath); err != nil {
		return err
	}
	if r.listener != nil {
		h.events = r.listener.heard()
	}
	r.history, r.verdict = h, judge(h)
	return nil
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

// atRandom is a moment within d.
func (r *run) atRandom(d time.Duration) time.Duration { return rand.N(r.times(d)) }

// within waits until ready returns nil, at most for d, and returns how long that took.
func (r *run) within(ctx context.Context, d time.Duration, ready func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	start := time.Now()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	var last error
	for {
		if err := r.alive(); err != nil {
			return 0, err
		}
		err := ready(ctx)
		if err == nil {
			return time.Since(start), nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return time.Since(start), fmt.Errorf("not within %s: %w", d, last)
		}
	}
}
