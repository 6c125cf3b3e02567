package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// networkFaults makes one connection after the other bad in three ways.
func networkFaults(ctx context.Context, r *run) error {
	commands, err := r.pair()
	if err != nil {
		return err
	}
	platforms := r.platforms[0]
	toPublish, publishURL, err := r.addBrokerProxy()
	if err != nil {
		return err
	}
	toSubscribe, subscribeURL, err := r.addBrokerProxy()
	if err != nil {
		return err
	}
	toPlatforms, err := r.addProxy(platforms.grpc)
	if err != nil {
		return err
	}
	platforms.env = append(platforms.env, "RABBITMQ_URL="+publishURL)
	commands.env = append(commands.env, "RABBITMQ_URL="+subscribeURL)
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	samplers := r.sample(ctx)
	defer samplers.stop()
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	faults := []struct {
		name  string
		state networkState
	}{
		{"cut", networkState{cut: true}},
		{"stalled", networkState{stalled: true}},
		{"slowed", networkState{delay: 500 * time.Millisecond}},
	}
	for _, link := range []struct {
		name  string
		proxy *proxy
	}{{"publisher", toPublish}, {"subscriber", toSubscribe}} {
		for _, f := range faults {
			r.phase(link.name + " " + f.name)
			link.proxy.set(f.state)
			if err := r.lasts(ctx, r.times(8*time.Second)); err != nil {
				return err
			}
			link.proxy.set(networkState{})
			took, err := r.within(ctx, r.recovery(), r.flows)
			r.expect(fmt.Sprintf("platforms to arrive again within %s, %s %s", r.recovery(), link.name, f.name), err == nil, "%s", tookOr(took, err))
		}
	}
	for i, f := range faults {
		r.phase("gRPC " + f.name)
		took, err := r.backfillThrough(ctx, i, toPlatforms, f.state)
		r.expect(fmt.Sprintf("a new CommandsService to have all platforms within %s, gRPC %s", r.recovery(), f.name), err == nil, "%s", tookOr(took, err))
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	r.expectNoLeak(ctx, samplers)
	r.expectComplete()
	return nil
}

// samplers are those of all services.
type samplers map[*service]*sampler

// sample starts to sample every service there is.
func (r *run) sample(ctx context.Context) samplers {
	all := samplers{}
	for _, s := range r.all() {
		all[s] = sample(ctx, r.client, s)
	}
	return all
}

func (all samplers) stop() {
	for _, m := range all {
		m.stop()
	}
}

// expectNoLeak ends the sampling, and expects the memory to have stayed bounded and
// the goroutines to come back to what they were.
func (r *run) expectNoLeak(ctx context.Context, all samplers) {
	all.stop()
	for _, s := range r.all() {
		m := all[s]
		if m == nil {
			continue // it came later
		}
		r.expectBounded(s, m, 64)
		now := 0
		_, err := r.within(ctx, r.recovery(), func(ctx context.Context) error {
			found, err := r.client.scrape(ctx, s)
			if now = int(found["go_goroutines"]); err == nil && now > m.first.goroutines+10 {
				err = errors.New("there are more")
			}
			return err
		})
		r.expect("no goroutine leak in "+s.name, m.samples > 0 && err == nil, "%d at first, %d at the end", m.first.goroutines, now)
	}
}

// backfillThrough starts a CommandsService that has nothing, while the network
// to PlatformService's gRPC is bad, and returns how long after its healing the
// service had all that there was.
func (r *run) backfillThrough(ctx context.Context, number int, network *proxy, state networkState) (time.Duration, error) {
	fresh, err := r.addCommands(
		fmt.Sprintf("COMMANDS_DATABASE_URL=sqlite:%s.%d", r.commandsFile(), number),
		fmt.Sprintf("COMMANDS_QUEUE=%s.fresh-%d", r.queue(), number),
		"PLATFORMS_GRPC_TARGET="+network.address())
	if err != nil {
		return 0, err
	}
	network.set(state)
	if err := r.launch(fresh); err != nil {
		return 0, err
	}
	defer fresh.kill()
	if err := r.lasts(ctx, r.times(8*time.Second)); err != nil {
		return 0, err
	}
	wanted, err := r.client.list(ctx, r.platforms, platformsPath)
	if err != nil {
		return 0, err
	}
	network.set(networkState{})
	return r.within(ctx, r.recovery(), func(ctx context.Context) error {
		has, err := r.client.list(ctx, []*service{fresh}, commandsPath)
		if err != nil {
			return err
		}
		ids := map[int32]bool{}
		for _, p := range has {
			ids[p.ID] = true
		}
		missing := 0
		for _, p := range wanted {
			if !ids[p.ID] {
				missing++
			}
		}
		if missing > 0 {
			return fmt.Errorf("%d of %d platforms are missing", missing, len(wanted))
		}
		return nil
	})
}

func tookOr(took time.Duration, err error) string {
	if err != nil {
		return err.Error()
	}
	return rounded(took).String()
}

// expectBounded expects a service's resident memory to have grown by no more
// than so many MiB.
func (r *run) expectBounded(s *service, m *sampler, growth int64) {
	expected := fmt.Sprintf("the memory of %s to grow by less than %d MiB", s.name, growth)
	if m.samples == 0 || m.first.memory == 0 {
		r.expect(expected, false, "its /metrics do not say")
		return
	}
	r.expect(expected, m.most-m.first.memory < growth<<20, "from %d to %d MiB", m.first.memory>>20, m.most>>20)
}
