package main

import (
	"context"
	"fmt"
	"time"
)

// eventsAlone leaves CommandsService without the backfill, which would bring after
// all what an event had lost.
func (r *run) eventsAlone() {
	for _, s := range r.commands {
		s.env = append(s.env, "PLATFORMS_GRPC_TARGET=127.0.0.1:1", "BACKFILL_READY_TIMEOUT=100ms") // nobody listens there
	}
}

// brokerCrashes kills the broker again and again.
func brokerCrashes(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	r.eventsAlone()
	network, url, err := r.addBrokerProxy()
	if err != nil {
		return err
	}
	r.platforms[0].env = append(r.platforms[0].env, "RABBITMQ_URL="+url)
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	crashes := max(2, r.count(5))
	for range crashes {
		next := time.Now().Add(r.times(time.Minute) / time.Duration(crashes))
		network.set(networkState{delay: delay}) // so that events are on their way when the broker dies
		if err := r.lasts(ctx, 2*delay); err != nil {
			return err
		}
		r.phase("broker down")
		r.broker.Kill()
		network.set(networkState{})
		if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
			return err
		}
		if err := r.broker.Restart(ctx); err != nil {
			return err
		}
		r.phase("broker up")
		// Long enough for some of what gathered to leave, when the start took long.
		if err := r.lasts(ctx, max(time.Second, time.Until(next))); err != nil {
			return err
		}
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	r.expect("the API to keep accepting", r.verdict.refused+r.verdict.unknown == 0, "%d refused, %d unknown", r.verdict.refused, r.verdict.unknown)
	return nil
}

// platformsCrashes kills PlatformService at random moments.
func platformsCrashes(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	return r.crashes(ctx, 300, r.platforms, max(3, r.count(10)))
}

// commandsCrashes kills CommandsService at random moments, most of them while it
// catches up with what gathered since the last.
func commandsCrashes(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	return r.crashes(ctx, 800, r.commands, max(3, r.count(10)))
}

// replicas kills each of several replicas in turn.
func replicas(ctx context.Context, r *run) error {
	for range 2 {
		if _, err := r.addPlatforms(); err != nil {
			return err
		}
	}
	for range 3 {
		if _, err := r.addCommands(); err != nil {
			return err
		}
	}
	if err := r.crashes(ctx, 300, r.all(), len(r.all())); err != nil {
		return err
	}
	r.tell("Events published twice", "%d", r.verdict.eventsRepeated)
	return nil
}

// crashes kills one of the services after the other, so many times in all, under
// a load of rate POSTs a second that keeps every part busy.
func (r *run) crashes(ctx context.Context, rate float64, services []*service, times int) error {
	r.eventsAlone()
	if err := r.begin(ctx, loadConfig{clients: 16, rate: rate}); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	r.phase("crashes")
	for i := range times {
		if err := r.lasts(ctx, r.atRandom(3*time.Second)); err != nil {
			return err
		}
		s := services[i%len(services)]
		r.progress.say("killing %s", s.name)
		if err := r.killAtWork(ctx, s); err != nil {
			return err
		}
		if err := r.lasts(ctx, r.atRandom(2*time.Second)); err != nil {
			return err
		}
		if err := r.restart(ctx, s); err != nil {
			return err
		}
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}

// killAtWork kills a service. A CommandsService is in the midst of a batch: it has
// been waiting for the lock of its database.
func (r *run) killAtWork(ctx context.Context, s *service) error {
	if s.program == "commandsservice" {
		db, err := openSQLite(r.commandsFile())
		if err != nil {
			return err
		}
		defer db.Close()
		lock, err := db.BeginTx(ctx, nil)
		if err != nil {
			return fmt.Errorf("lock CommandsService's database: %w", err)
		}
		defer func() { _ = lock.Rollback() }() // it has changed nothing
		if err := r.lasts(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	s.kill()
	return nil
}
