package main

import (
	"context"
	"errors"
	"time"

	"microcomm/docs/tools/internal/badnet"
)

// eventsAlone leaves CommandsService without the backfill, which would make up in the
// end for every lost event.
func (r *run) eventsAlone() {
	for _, s := range r.commands {
		s.env = append(s.env, "PLATFORMS_GRPC_TARGET=127.0.0.1:1", "BACKFILL_READY_TIMEOUT=100ms") // no server listens there
	}
}

// brokerCrashes kills the broker again and again.
func brokerCrashes(r *run) {
	platforms, _ := r.pair()
	r.eventsAlone()
	network, url := r.addBrokerProxy()
	platforms.env = append(platforms.env, "RABBITMQ_URL="+url)
	r.begin(usual())
	r.lasts(3 * time.Second)
	// No error if it does not show: another version of RabbitMQ may keep it elsewhere.
	_, _ = r.within(10*time.Second, func(context.Context) error {
		if !r.broker.HasQuorumQueue(r.queue()) {
			return errors.New("the broker has not written its queue")
		}
		return nil
	})
	crashes := max(2, r.count(5))
	for range crashes {
		next := time.Now().Add(r.times(time.Minute) / time.Duration(crashes))
		network.Set(badnet.State{Delay: delay}) // so that events are on their way when the broker dies
		r.pause(2 * delay)
		r.phase("broker down")
		r.killBroker()
		network.Set(badnet.State{})
		r.lasts(3 * time.Second)
		r.restartBroker()
		r.phase("broker up")
		// Long enough for some of the waiting events to leave, even after a slow start.
		r.pause(max(time.Second, time.Until(next)))
	}
	r.finish()
	r.expect("the API to keep accepting", r.verdict.refused+r.verdict.unknown == 0, "%d refused, %d unknown", r.verdict.refused, r.verdict.unknown)
}

// platformsCrashes kills PlatformService at random moments.
func platformsCrashes(r *run) {
	r.pair()
	r.crashes(300, r.platforms, max(3, r.count(10)))
}

// commandsCrashes kills CommandsService at random moments, most of them while it
// catches up with the events that have gathered since the last crash.
func commandsCrashes(r *run) {
	r.pair()
	r.crashes(800, r.commands, max(3, r.count(10)))
}

// replicas kills each of several replicas in turn.
func replicas(r *run) {
	r.services(2, 3)
	r.crashes(300, r.all(), len(r.all()))
	r.tell("Events published twice", "%d", r.verdict.eventsRepeated)
}

// crashes kills one of the services after the other, so many times in all, under
// a load of rate POSTs a second that keeps every part busy.
func (r *run) crashes(rate float64, services []*service, times int) {
	r.eventsAlone()
	r.begin(loadConfig{clients: 16, rate: rate})
	r.lasts(3 * time.Second)
	r.phase("crashes")
	for i := range times {
		s := services[i%len(services)]
		r.lasts(upTo(3 * time.Second))
		r.killAtWork(s)
		r.lasts(upTo(2 * time.Second))
		r.restart(s)
	}
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
}

// killAtWork kills a service. A CommandsService is in the middle of a batch: it has
// been waiting for the lock of its database.
func (r *run) killAtWork(s *service) {
	r.progress.say("killing %s", s.name)
	if s.program == "commandsservice" {
		db := get(openSQLite(r.commandsFile()))
		defer db.Close()
		lock := get(lockSQLite(r.ctx, db))
		defer func() { _ = lock.Rollback() }() // it has changed nothing
		r.pause(200 * time.Millisecond)
	}
	s.kill()
}
