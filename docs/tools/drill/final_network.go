package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"microcomm/docs/tools/internal/badnet"
)

// networkFaults breaks one connection after the other in three ways.
func networkFaults(r *run) {
	platforms, commands := r.pair()
	toPublish, publishURL := r.addBrokerProxy()
	toSubscribe, subscribeURL := r.addBrokerProxy()
	toPlatforms := r.addProxy(platforms.grpc)
	platforms.env = append(platforms.env, "RABBITMQ_URL="+publishURL)
	commands.env = append(commands.env, "RABBITMQ_URL="+subscribeURL)
	r.begin(usual())
	samplers := r.sample()
	defer samplers.stop()
	r.lasts(3 * time.Second)
	faults := []struct {
		name  string
		state badnet.State
	}{
		{"cut", badnet.State{Cut: true}},
		{"stalled", badnet.State{Stalled: true}},
		{"slowed", badnet.State{Delay: 500 * time.Millisecond}},
	}
	for _, link := range []struct {
		name  string
		proxy *badnet.Proxy
	}{{"publisher", toPublish}, {"subscriber", toSubscribe}} {
		for _, f := range faults {
			name := link.name + " " + f.name
			r.phase(name)
			link.proxy.Set(f.state)
			r.lasts(8 * time.Second)
			link.proxy.Set(badnet.State{})
			r.expectRecovery("platforms to arrive again within %s, "+name, r.flowing)
		}
	}
	for _, f := range faults {
		r.phase("gRPC " + f.name)
		r.backfillThrough(toPlatforms, f.name, f.state)
	}
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
	r.expectNoLeak(samplers)
	r.expectComplete()
}

// samplers holds the sampler of each service.
type samplers map[*service]*sampler

// sample starts a sampler for every service.
func (r *run) sample() samplers {
	all := samplers{}
	for _, s := range r.all() {
		all[s] = sample(r.ctx, r.client, s)
	}
	return all
}

func (all samplers) stop() {
	for _, m := range all {
		m.stop()
	}
}

// expectNoLeak ends the sampling. It expects bounded memory, and as many goroutines as
// at first.
func (r *run) expectNoLeak(all samplers) {
	all.stop()
	for _, s := range r.all() {
		m := all[s]
		if m == nil {
			continue // it was added later
		}
		r.expectBounded(s, m, 64)
		now := 0
		_, err := r.within(r.recovery(), func(ctx context.Context) error {
			found, err := r.client.scrape(ctx, s)
			if now = int(found["go_goroutines"]); err == nil && now > m.first.goroutines+10 {
				err = errors.New("there are more")
			}
			return err
		})
		r.expect("no goroutine leak in "+s.name, m.samples > 0 && err == nil, "%d at first, %d at the end", m.first.goroutines, now)
	}
}

// backfillThrough starts a CommandsService without data while the network to
// PlatformService's gRPC is bad, and expects it to have every platform soon after the
// repair.
func (r *run) backfillThrough(network *badnet.Proxy, name string, state badnet.State) {
	fresh := r.addCommands(
		fmt.Sprintf("COMMANDS_DATABASE_URL=sqlite:%s.%s", r.commandsFile(), name),
		fmt.Sprintf("COMMANDS_QUEUE=%s.fresh-%s", r.queue(), name),
		"PLATFORMS_GRPC_TARGET="+network.Address())
	network.Set(state)
	must(r.launch(fresh))
	defer fresh.kill()
	r.lasts(8 * time.Second)
	wanted := get(r.client.list(r.ctx, r.platforms, platformsPath))
	network.Set(badnet.State{})
	r.expectRecovery("a new CommandsService to have all platforms within %s, gRPC "+name, func(ctx context.Context) error {
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

// expectBounded expects the resident memory of s to have grown by less than growth MiB.
func (r *run) expectBounded(s *service, m *sampler, growth int64) {
	expected := fmt.Sprintf("the memory of %s to grow by less than %d MiB", s.name, growth)
	if m.samples == 0 || m.first.memory == 0 {
		r.expect(expected, false, "its /metrics lack it")
		return
	}
	r.expect(expected, m.most-m.first.memory < growth<<20, "from %d to %d MiB", m.first.memory>>20, m.most>>20)
}
