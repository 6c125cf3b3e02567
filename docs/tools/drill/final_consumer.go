package main

import (
	"context"
	"fmt"
	"time"
)

// slowConsumer lets events gather while CommandsService is stopped.
func slowConsumer(r *run) {
	_, commands := r.pair()
	r.prepare()
	if !r.expectQueue(r.queue()) {
		return
	}
	r.watch()
	must(commands.terminate())
	events := 100_000
	if r.options.short {
		events = 5_000
	}
	r.phase("gathering")
	r.startLoad(loadConfig{clients: 32, total: events})
	r.load.wait()
	took, err := r.within(time.Minute, func(ctx context.Context) error {
		waiting, err := depth(ctx, r.brokerURL, r.queue())
		if err == nil && waiting < events {
			err = fmt.Errorf("%d of %d are there", waiting, events)
		}
		return err
	})
	r.expect("every event to wait in "+r.queue(), err == nil, "%s after the last POST", tookOr(took, err))

	r.phase("draining")
	must(r.launch(commands))
	usage := sample(r.ctx, r.client, commands)
	defer usage.stop()
	start := time.Now()
	must(r.ready(r.ctx, commands))
	wasReady := time.Since(start)
	// By then the backfill has brought every platform.
	list := get(r.client.list(r.ctx, r.commands, commandsPath))
	r.expect("CommandsService to be ready when it has the platforms, and not before", len(list) >= events,
		"ready after %s, with %d of %d", rounded(wasReady), len(list), events)
	r.expectWithin(5*time.Minute, "the queue to be drained", func(ctx context.Context) error {
		waiting, err := depth(ctx, r.brokerURL, r.queue())
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d events wait", waiting)
		}
		return err
	})
	r.finish()
	usage.stop()
	r.expectBounded(commands, usage, 64)
	r.expectComplete()
}

// expectQueue expects a durable queue of final to exist. Without it there is nothing
// to drill.
func (r *run) expectQueue(queue string) bool {
	_, err := depth(r.ctx, r.brokerURL, queue)
	if err != nil {
		r.expect("the queue "+queue, false, "%s", err)
	}
	return err == nil
}
