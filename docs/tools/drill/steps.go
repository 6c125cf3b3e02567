package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// The script of a drill is a list of steps. Most steps are methods of run; a step
// that cannot be carried out ends the script, as Fatal ends a test, so that the
// script itself holds no error handling.

// stepFailed is what a failed step panics with. perform turns it into an error.
type stepFailed struct{ err error }

// must ends the script if err is not nil. Only the goroutine that runs the script
// may call it, and with it any step.
func must(err error) {
	if err != nil {
		panic(stepFailed{err})
	}
}

// get returns value, and ends the script if err is not nil.
func get[T any](value T, err error) T {
	must(err)
	return value
}

// perform runs a script to its end, or to the step that fails, and returns that
// step's error.
func (r *run) perform(script func(*run)) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case stepFailed:
			err = p.err
		default:
			panic(p)
		}
	}()
	script(r)
	return nil
}

// services adds that many replicas of each service, to be started by begin.
func (r *run) services(platforms, commands int) {
	for range commands {
		r.addCommands()
	}
	for range platforms {
		r.addPlatforms()
	}
}

// pair adds one of each service, to be started by begin.
func (r *run) pair() (platforms, commands *service) {
	r.services(1, 1)
	return r.platforms[0], r.commands[0]
}

// prepare starts the system and waits until platforms reach CommandsService.
func (r *run) prepare() {
	must(r.recorder.start(r))
	must(r.start(r.ctx))
	r.flows()
	for _, p := range get(r.client.list(r.ctx, r.platforms, platformsPath)) {
		r.ignore[p.Name] = true
	}
}

// begin prepares the system, and then starts to watch it and to load it.
func (r *run) begin(cfg loadConfig) {
	r.prepare()
	r.watch()
	r.startLoad(cfg)
	r.phase(before)
	r.accepts(1)
}

// accepts waits until n POSTs that began in the present phase have been accepted. On a
// machine that stood still, the time of a phase may be over without any.
func (r *run) accepts(n int) {
	present := r.phases[len(r.phases)-1].name
	get(r.within(startTimeout, func(context.Context) error {
		posts := slices.DeleteFunc(r.during(r.load.history(), present), func(p post) bool { return p.outcome != accepted })
		if len(posts) < n {
			return fmt.Errorf("%d of %d POSTs were accepted in the phase %s", len(posts), n, present)
		}
		return nil
	}))
}

// watch records from now on what arrives in CommandsService, and what a second
// subscriber receives.
func (r *run) watch() {
	r.arrivals = watchArrivals(r.ctx, r.client, r.commands)
	if r.brokerURL == "" {
		return
	}
	r.listener = listen(r.ctx, r.brokerURL, r.exchange())
	select {
	case <-r.listener.bound:
	case <-time.After(startTimeout):
		must(errors.New("the second subscriber cannot listen to " + r.exchange()))
	case <-r.ctx.Done():
		must(r.ctx.Err())
	}
}

// startLoad starts a load. Without targets it goes to every PlatformService, with
// keys if the options ask for them.
func (r *run) startLoad(cfg loadConfig) {
	if len(cfg.targets) == 0 {
		for _, s := range r.platforms {
			cfg.targets = append(cfg.targets, s.url)
		}
		cfg.keys = cfg.keys || r.options.keys
	}
	if r.recorder != nil {
		cfg.rate, cfg.prefix = recordedRate, "p" // a short name fits beside another recording
	}
	if cfg.prefix == "" {
		cfg.prefix = fmt.Sprintf("drill-%d", len(r.loads)+1)
	}
	cfg.bearer = r.options.bearer
	r.load = startLoad(r.ctx, cfg)
	r.loads = append(r.loads, r.load)
	r.progress.follow(r.load)
}

// phase begins a stretch of the run with its own figures.
func (r *run) phase(name string) {
	r.phases = append(r.phases, phase{name, time.Now()})
	r.progress.say("%s", name)
	r.recorder.phase(name)
}

// lasts keeps the present state for d, or with --short for a fifth of it. It fails if a
// service ends unexpectedly.
func (r *run) lasts(d time.Duration) { r.pause(r.times(d)) }

// pause is lasts, but as long with --short.
func (r *run) pause(d time.Duration) { must(r.wait(r.ctx, d)) }

// wait returns after d, or with an error as soon as a service ends unexpectedly.
func (r *run) wait(ctx context.Context, d time.Duration) error {
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

// restart starts a service that is down, and waits until it is ready.
func (r *run) restart(s *service) {
	must(r.launch(s))
	must(r.ready(r.ctx, s))
}

// killBroker ends the broker as a crash does.
func (r *run) killBroker() {
	r.broker.Kill()
	r.recorder.fault("kill", "broker", "down")
}

// restartBroker starts the broker that was killed.
func (r *run) restartBroker() {
	r.recorder.part("broker", "starting")
	must(r.broker.Restart(r.ctx))
	r.recorder.part("broker", "up")
}

// flows waits until new platforms reach CommandsService again.
func (r *run) flows() { must(r.flowing(r.ctx)) }

// flowing waits until new platforms get from PlatformService to CommandsService. A
// probe may be lost on the way; then another one is sent. A single probe may have
// arrived by a backfill, which runs once, so two in a row have to.
func (r *run) flowing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	wait := probeWait
	for arrived := 0; arrived < 2; {
		r.probes++
		name := fmt.Sprintf("probe-%d", r.probes)
		r.ignore[name] = true
		if err := r.alive(); err != nil {
			return err
		}
		err := r.probe(ctx, name, wait)
		if err != nil && ctx.Err() != nil {
			return fmt.Errorf("no platform gets from PlatformService to CommandsService: %w", err)
		}
		arrived++
		if err != nil {
			arrived = 0
			wait = 2 * probeWait // the machine may be slow
		}
	}
	return nil
}

// probeWait is how long the first probe may take. A relay that asks its database for
// events once a second needs a little more than that.
const probeWait = 2 * time.Second

// probe creates one platform and waits until it can be read in CommandsService.
func (r *run) probe(ctx context.Context, name string, wait time.Duration) error {
	probing, cancel := context.WithTimeout(ctx, wait)
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
				last = fmt.Errorf("%s did not arrive within %s", name, wait)
			}
			return last
		}
	}
}

// up returns a replica that is not down.
func (r *run) up(services []*service) *service {
	for _, s := range services {
		if !s.down.Load() {
			return s
		}
	}
	return services[0]
}

// finish ends the load, lets what is on its way arrive, reads both services and
// judges.
func (r *run) finish() {
	r.progress.say("ending the load")
	r.load.stop()
	r.progress.say("settling")
	r.judge(r.settle())
}

// settle waits until CommandsService has everything that PlatformService has, or
// nothing has arrived for as long as patience. It returns what PlatformService has: a
// POST that its client has given up may still add to that.
func (r *run) settle() []platform {
	begun := time.Now()
	for {
		list := get(r.client.list(r.ctx, r.platforms, platformsPath))
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
		if rest == 0 || time.Since(newest) > r.patience() {
			return list
		}
		r.pause(arrivalPause(list))
	}
}

// patience is how long to wait for another arrival before the rest counts as lost: long
// where the stage retries with pauses, and short where it does not.
func (r *run) patience() time.Duration {
	switch {
	case r.stage.Name == "final":
		return 30 * time.Second
	case r.stage.Has("commandsservice/backfill.go"):
		return 10 * time.Second
	}
	return 3 * time.Second
}

// judge reads the rest and judges everything that has happened so far. platforms is what
// PlatformService has.
func (r *run) judge(platforms []platform) {
	h := history{posts: slices.Clone(r.extra), ignore: r.ignore, platforms: platforms}
	h.arrived, h.gaps = r.arrivals.seen()
	for _, l := range r.loads {
		h.posts = append(h.posts, l.history()...)
	}
	h.commands = get(r.client.list(r.ctx, r.commands, commandsPath))
	if r.listener != nil {
		h.events = r.listener.heard()
	}
	r.history, r.verdict = h, judge(h)
}

// expectWithin expects ready to return nil within d, and reports whether it did.
func (r *run) expectWithin(d time.Duration, expected string, ready func(context.Context) error) bool {
	took, err := r.within(d, ready)
	r.expect(expected, err == nil, "%s", tookOr(took, err))
	return err == nil
}

// expectRecovery expects ready to return nil within the time of recovery, which
// replaces the %s in expected.
func (r *run) expectRecovery(expected string, ready func(context.Context) error) {
	r.expectWithin(r.recovery(), fmt.Sprintf(expected, r.recovery()), ready)
}

func tookOr(took time.Duration, err error) string {
	if err != nil {
		return err.Error()
	}
	return rounded(took).String()
}

// within waits until ready returns nil, for d at most, and returns how long that took.
func (r *run) within(d time.Duration, ready func(context.Context) error) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(r.ctx, d)
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
