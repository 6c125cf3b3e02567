package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// drill is a fault, done to a stage under load, and what that is expected to show.
type drill struct {
	stage  string // the number or name of the stage's folder: 06, final
	name   string
	does   string // the fault, and what it shows
	run    func(context.Context, *run) error
	expect func(context.Context, *run) error // nil: run has done so

	unanswered  bool // it leaves clients of final without a response, who may retry
	keys        bool // its clients retry, with an Idempotency-Key
	killsBroker bool // it needs a broker of its own
}

// noBackfill is said of a drill with eventsAlone.
const noBackfill = "The backfill, which would make up for an event that was lost, is out of reach."

// drills lists all of them, in the order of --list.
func drills() []drill {
	return []drill{
		{stage: "02", name: "commands-slow", run: commandsSlow, expect: expectSlowPosts,
			does: "everything to and from CommandsService comes 100 ms late. PlatformService waits for it in every POST."},
		{stage: "02", name: "commands-down", run: commandsDown, expect: expectLostWhileDown,
			does: "CommandsService is killed, and started again. Nobody tells it what it missed."},
		{stage: "06", name: "commands-slow", run: commandsSlow, expect: expectFastPosts,
			does: "everything between the broker and CommandsService comes 100 ms late. The events come late; POSTs do not wait for them."},
		{stage: "06", name: "subscriber-down", run: commandsDown, expect: expectLostWhileDown,
			does: "CommandsService is killed, and started again. Its queue goes with its connection."},
		{stage: "06", name: "broker-crash", run: brokerCrash, expect: expectLostWithoutBroker,
			does: "the broker is killed (-9) and started again. Events sent meanwhile are dropped, and so is what it held."},
		{stage: "07", name: "subscriber-down", run: commandsDown, expect: expectNothingLost,
			does: "CommandsService is killed, and started again. The backfill brings what it missed."},
		{stage: "07", name: "broker-crash", run: brokerCrash, expect: expectMostlyRepaired,
			does: "the broker is killed (-9) and started again. The backfill runs when CommandsService hears events again."},
		{stage: "07", name: "platforms-crash", run: killPlatforms, expect: expectUntoldUntilBackfill,
			does: "PlatformService is killed (-9) between saving a platform and publishing its event, and started again. Nobody knows that the event is still to be sent."},
		{stage: "final", name: "broker-crash", keys: true, run: brokerCrashes, expect: expectNothingLost, killsBroker: true,
			does: "the broker is killed (-9) and started again, five times in a minute. " + noBackfill},
		{stage: "final", name: "platforms-crash", run: platformsCrashes, expect: expectNothingLost, unanswered: true,
			does: "PlatformService is killed (-9) at ten random moments, and started again. " + noBackfill},
		{stage: "final", name: "commands-crash", keys: true, run: commandsCrashes, expect: expectNothingLost,
			does: "CommandsService is killed (-9) ten times while it takes events, and started again. " + noBackfill},
		{stage: "final", name: "replicas", run: replicas, expect: expectNothingLost, unanswered: true,
			does: "of two PlatformServices and three CommandsServices, which share their databases, one after the other is killed (-9). " + noBackfill},
		{stage: "final", name: "network", keys: true, run: networkFaults,
			does: "each connection in turn is cut, stalled and slowed: PlatformService and CommandsService to the broker, CommandsService to PlatformService (gRPC)."},
		{stage: "final", name: "poison", run: poison,
			does: "among 1000 platforms come events that are not JSON, of wrong types, or that the store always refuses."},
		{stage: "final", name: "slow-consumer", run: slowConsumer,
			does: "CommandsService is stopped while 100 000 events gather, and started again."},
		{stage: "final", name: "disk-full", run: diskFull,
			does: "the disks of both services are full for a while. Clients post to CommandsService, too: platforms and commands."},
		{stage: "final", name: "database-locked", run: databaseLocked,
			does: "another connection holds the lock of PlatformService's database for a while."},
		{stage: "final", name: "sql-deadlock", keys: true, run: sqlDeadlock,
			does: "SQL Server chooses POSTs as the victims of deadlocks (error 1205) for a while."},
		{stage: "final", name: "network-database", run: databaseNetwork, unanswered: true,
			does: "the connection of each service to its database, SQL Server, is cut, stalled and slowed in turn."},
		{stage: "final", name: "suspended-replica", run: suspendedReplica, expect: expectNothingLost, unanswered: true,
			does: "of two PlatformServices and three CommandsServices on SQL Server, one after the other is suspended in the middle of its work, and resumed. " + noBackfill},
		{stage: "final", name: "overload", run: overload,
			does: "for 30 s ten times as many clients post as fast as they can as PlatformService serves at a time."},
		{stage: "final", name: "memory", run: memory, killsBroker: true, // its own, since it needs the limits of the manifests
			does: "each service has the memory of its pod, 128 MiB, while one client after the other does what takes the most."},
		{stage: "final", name: "upgrade", run: upgrade,
			does: "07's services are replaced by final's, side by side on one database and one broker, and PlatformService is rolled back."},
		{stage: "final", name: "cluster", run: cluster, expect: expectNothingLost, unanswered: true,
			does: "on Kubernetes, each pod is deleted and killed, one RabbitMQ node of three is away for long, another one loses its disk, and everything is restarted."},
		{stage: "final", name: "sigterm", run: sigterm,
			does: "each service in turn is stopped with SIGTERM under load, and all of them are restarted one after the other."},
	}
}

// forStage selects the drills of a stage's folder.
func forStage(all []drill, stage string) []drill {
	var found []drill
	for _, d := range all {
		if d.stage == stage || strings.HasPrefix(stage, d.stage+"-") {
			found = append(found, d)
		}
	}
	return found
}

// usual is the load of most drills: a hundred POSTs a second.
func usual() loadConfig { return loadConfig{clients: 8, rate: 100} }

// delay is how late a slow network is, each way.
const delay = 100 * time.Millisecond

// The phases that the expectations below know.
const (
	before     = "before"
	fault      = "fault"
	recovering = "recovering" // the fault has been mended, and things have to find together again
	after      = "after"
)

// commandsSlow puts a slow network between CommandsService and what it hears
// of platforms from.
func commandsSlow(ctx context.Context, r *run) error {
	commands, err := r.addCommands()
	if err != nil {
		return err
	}
	platforms, err := r.addPlatforms()
	if err != nil {
		return err
	}
	var network *proxy
	if r.brokerURL == "" {
		if network, err = r.addProxy(strings.TrimPrefix(commands.url, "http://")); err != nil {
			return err
		}
		platforms.env = append(platforms.env, "COMMANDS_SERVICE_URL=http://"+network.address()+commandsPath)
	} else {
		var url string
		if network, url, err = r.addBrokerProxy(); err != nil {
			return err
		}
		commands.env = append(commands.env, "RABBITMQ_URL="+url)
	}
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	network.set(networkState{delay: delay})
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(after)
	network.set(networkState{})
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, 3*time.Second)
}

// commandsDown kills CommandsService and starts it again.
func commandsDown(ctx context.Context, r *run) error {
	commands, err := r.pair()
	if err != nil {
		return err
	}
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	commands.kill()
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(recovering)
	if err := r.restart(ctx, commands); err != nil {
		return err
	}
	if err := r.flows(ctx); err != nil {
		return err
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}

// brokerCrash kills the broker and starts it again.
func brokerCrash(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	r.broker.Kill()
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	r.phase(recovering)
	if err := r.broker.Restart(ctx); err != nil {
		return err
	}
	if err := r.flows(ctx); err != nil {
		return err
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(5*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}

// killPlatforms kills PlatformService three times. That a crash comes between
// saving and publishing is rare, so the time between the two is made long: the
// call of chapter 02, which stands between them, goes to somebody who never
// responds, and is given up after 200 ms.
func killPlatforms(ctx context.Context, r *run) error {
	commands, err := r.pair()
	if err != nil {
		return err
	}
	silent, err := r.addProxy(strings.TrimPrefix(commands.url, "http://"))
	if err != nil {
		return err
	}
	silent.set(networkState{stalled: true})
	platforms := r.platforms[0]
	platforms.env = append(platforms.env,
		"COMMANDS_SERVICE_URL=http://"+silent.address()+commandsPath, "COMMANDS_SERVICE_TIMEOUT=200ms")
	if err := r.begin(ctx, usual()); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	r.phase(fault)
	for range 3 {
		if err := r.lasts(ctx, r.atRandom(2*time.Second)); err != nil {
			return err
		}
		platforms.kill()
		if err := r.restart(ctx, platforms); err != nil {
			return err
		}
	}
	if err := r.flows(ctx); err != nil {
		return err
	}
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	return r.finish(ctx, r.patience())
}

// pair adds one of each service, and returns CommandsService.
func (r *run) pair() (*service, error) {
	commands, err := r.addCommands()
	if err != nil {
		return nil, err
	}
	_, err = r.addPlatforms()
	return commands, err
}

// patience is how long nothing may arrive before what has not is given up: long
// where the stage retries something, with its pauses, and short where it does not.
func (r *run) patience() time.Duration {
	switch {
	case r.stage.Name == "final":
		return 30 * time.Second
	case r.stage.Has("commandsservice/backfill.go"):
		return 10 * time.Second
	}
	return 2 * time.Second
}

// expectUntoldUntilBackfill expects platforms that only the next backfill brings.
func expectUntoldUntilBackfill(ctx context.Context, r *run) error {
	untold := len(r.verdict.untold)
	r.expect("platforms that PlatformService saved and CommandsService has not heard of", untold > 0, "%d", untold)
	r.progress.say("restarting CommandsService, which backfills")
	commands := r.commands[0]
	commands.kill()
	if err := r.restart(ctx, commands); err != nil {
		return err
	}
	took, err := r.within(ctx, r.recovery(), func(ctx context.Context) error {
		list, err := r.client.list(ctx, r.commands, commandsPath)
		has := index(list)
		for _, name := range r.verdict.untold {
			if err == nil && len(has[name]) == 0 {
				err = fmt.Errorf("%s is not there", name)
			}
		}
		return err
	})
	r.expect("all of them to be there once CommandsService was started again", err == nil, "%s", tookOr(took, err))
	return nil
}

func expectSlowPosts(_ context.Context, r *run) error {
	healthy, slow := r.latencyIn(before), r.latencyIn(fault)
	r.expect("POSTs to take five times as long and more (p50)", slow.p50 >= 5*healthy.p50,
		"%s, and %s before: %.1f times", rounded(slow.p50), rounded(healthy.p50), ratio(slow.p50, healthy.p50))
	r.expectComplete()
	return nil
}

func expectFastPosts(_ context.Context, r *run) error {
	healthy, slow := r.latencyIn(before), r.latencyIn(fault)
	r.expect("POSTs to wait for less than a quarter of the delay (p50)", slow.p50-healthy.p50 < delay/4,
		"%s, and %s before", rounded(slow.p50), rounded(healthy.p50))
	arrival := judge(r.with(r.in(fault))).arrival
	r.expect(fmt.Sprintf("events to come %s later (p50)", delay), arrival.p50 >= delay, "%s after the response", rounded(arrival.p50))
	r.expectComplete()
	return nil
}

func expectLostWhileDown(_ context.Context, r *run) error {
	v := judge(r.with(r.in(fault)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expect("most of what is accepted then to be missing", 2*len(v.missing) > v.accepted, "%d of %d missing", len(v.missing), v.accepted)
	if r.verdict.hasEvents {
		r.expect("the second subscriber to hear of them", r.verdict.eventsMissing == 0, "%d not heard of", r.verdict.eventsMissing)
	}
	r.expectNoWrong()
	return nil
}

func expectLostWithoutBroker(_ context.Context, r *run) error {
	v := judge(r.with(r.in(fault)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expect("most of what is accepted then to be missing", 2*len(v.missing) > v.accepted, "%d of %d missing", len(v.missing), v.accepted)
	r.expectNoWrong()
	return nil
}

func expectMostlyRepaired(_ context.Context, r *run) error {
	v := judge(r.with(r.in(fault, recovering)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expect("most of what is accepted then to arrive after all", 2*len(v.missing) < v.accepted, "%d of %d missing", len(v.missing), v.accepted)
	r.expectNoWrong()
	return nil
}

func expectNothingLost(_ context.Context, r *run) error {
	r.expectComplete()
	return nil
}

// expectComplete expects the two services to agree at the end, on all that was
// accepted and nothing else.
func (r *run) expectComplete() {
	r.expect("platforms to be accepted", r.verdict.accepted > 0, "%d", r.verdict.accepted)
	r.expect("0 missing", len(r.verdict.missing) == 0, "%d", len(r.verdict.missing))
	r.expect("0 that PlatformService has and CommandsService has not", len(r.verdict.untold) == 0, "%d", len(r.verdict.untold))
	r.expectNoWrong()
	if r.loads[0].cfg.keys {
		r.expect("0 created twice", len(r.verdict.duplicated) == 0, "%d, of %d that were sent again", len(r.verdict.duplicated), r.verdict.retried)
	}
}

// expectNoWrong expects nothing to be there that should not be.
func (r *run) expectNoWrong() {
	v := r.verdict
	r.expect("0 duplicated, 0 phantom, 0 under two ids", len(v.duplicated)+len(v.phantom)+len(v.mismatched) == 0,
		"%d, %d, %d", len(v.duplicated), len(v.phantom), len(v.mismatched))
}
