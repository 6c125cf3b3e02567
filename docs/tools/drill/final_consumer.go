package main

import (
	"context"
	"fmt"
	"time"
)

// slowConsumer lets events gather while CommandsService is stopped.
func slowConsumer(ctx context.Context, r *run) error {
	commands, err := r.pair()
	if err != nil {
		return err
	}
	if err := r.prepare(ctx); err != nil {
		return err
	}
	if !r.expectQueue(ctx, r.queue()) {
		return nil
	}
	if err := r.watch(ctx); err != nil {
		return err
	}
	if err := commands.terminate(); err != nil {
		return err
	}
	events := 100_000
	if r.options.short {
		events = 5_000
	}
	r.phase("gathering")
	r.startLoad(ctx, loadConfig{clients: 32, total: events})
	r.load.wait()
	took, err := r.within(ctx, time.Minute, func(ctx context.Context) error {
		waiting, err := depth(ctx, r.brokerURL, r.queue())
		if err == nil && waiting < events {
			err = fmt.Errorf("%d of %d are there", waiting, events)
		}
		return err
	})
	r.expect("every event to wait in "+r.queue(), err == nil, "%s after the last POST", tookOr(took, err))

	r.phase("draining")
	if err := r.launch(commands); err != nil {
		return err
	}
	usage := sample(ctx, r.client, commands)
	defer usage.stop()
	start := time.Now()
	if err := r.ready(ctx, commands); err != nil {
		return err
	}
	wasReady := time.Since(start)
	list, err := r.client.list(ctx, r.commands, commandsPath)
	if err != nil {
		return err
	}
	// What may be missing of the backfill at that moment is nothing.
	r.expect("CommandsService to be ready when it has the platforms, and not before", len(list) >= events,
		"ready after %s, with %d of %d", rounded(wasReady), len(list), events)
	took, err = r.within(ctx, 5*time.Minute, func(ctx context.Context) error {
		waiting, err := depth(ctx, r.brokerURL, r.queue())
		if err == nil && waiting > 0 {
			err = fmt.Errorf("%d events wait", waiting)
		}
		return err
	})
	r.expect("the queue to be drained", err == nil, "%s", tookOr(took, err))
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	usage.stop()
	r.expectBounded(commands, usage, 64)
	r.expectComplete()
	return nil
}

// expectQueue expects a durable queue of final to be there, without which there
// is nothing to drill.
func (r *run) expectQueue(ctx context.Context, queue string) bool {
	_, err := depth(ctx, r.brokerURL, queue)
	if err != nil {
		r.expect("the queue "+queue, false, "%s", err)
	}
	return err == nil
}
