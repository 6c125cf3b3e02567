package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"microcomm/docs/tools/internal/badnet"
)

// drill causes a fault in a stage under load, and checks its expected effect.
type drill struct {
	stage  string // the number or name of the stage's folder: 06, final
	name   string
	does   string // the fault, and what it shows
	run    func(*run)
	expect func(*run) // nil: run contains the checks

	unanswered  bool // it leaves clients of final without a response, so there is a variant with retries
	keys        bool // its clients retry, with an Idempotency-Key
	killsBroker bool // it needs its own broker
}

// noBackfill describes eventsAlone.
const noBackfill = "The backfill, which would make up for a lost event, is out of reach."

// drills returns all drills, in the order of --list.
func drills() []drill {
	return []drill{
		{stage: "02", name: "commands-slow", run: commandsSlow, expect: expectSlowPosts,
			does: "everything to and from CommandsService arrives 100 ms late. PlatformService waits for it in every POST."},
		{stage: "02", name: "commands-down", run: commandsDown, expect: expectLostWhileDown,
			does: "CommandsService is killed, and started again. It never learns what it missed."},
		{stage: "06", name: "commands-slow", run: commandsSlow, expect: expectFastPosts,
			does: "everything between the broker and CommandsService arrives 100 ms late. The events are late, but no POST waits for them."},
		{stage: "06", name: "subscriber-down", run: commandsDown, expect: expectLostWhileDown,
			does: "CommandsService is killed, and started again. Its queue is deleted with its connection."},
		{stage: "06", name: "broker-crash", run: brokerCrash, expect: expectLostWithoutBroker,
			does: "the broker is killed (-9) and started again. Events sent meanwhile are lost, and so are those it held."},
		{stage: "07", name: "subscriber-down", run: commandsDown, expect: expectNothingLost,
			does: "CommandsService is killed, and started again. The backfill brings what it missed."},
		{stage: "07", name: "broker-crash", run: brokerCrash, expect: expectMostlyRepaired,
			does: "the broker is killed (-9) and started again. The backfill runs when CommandsService receives events again."},
		{stage: "07", name: "platforms-crash", run: killPlatforms, expect: expectUntoldUntilBackfill,
			does: "PlatformService is killed (-9) between saving a platform and publishing its event, and started again. Nothing records that the event still has to be sent."},
		{stage: "final", name: "broker-crash", keys: true, run: brokerCrashes, expect: expectNothingLost, killsBroker: true,
			does: "the broker is killed (-9) and started again, five times in a minute. " + noBackfill},
		{stage: "final", name: "platforms-crash", run: platformsCrashes, expect: expectNothingLost, unanswered: true,
			does: "PlatformService is killed (-9) at ten random moments, and started again. " + noBackfill},
		{stage: "final", name: "commands-crash", keys: true, run: commandsCrashes, expect: expectNothingLost,
			does: "CommandsService is killed (-9) ten times while it handles events, and started again. " + noBackfill},
		{stage: "final", name: "replicas", run: replicas, expect: expectNothingLost, unanswered: true,
			does: "two PlatformServices and three CommandsServices share their databases; each in turn is killed (-9). " + noBackfill},
		{stage: "final", name: "network", keys: true, run: networkFaults,
			does: "each connection in turn is cut, stalled and slowed: PlatformService and CommandsService to the broker, CommandsService to PlatformService (gRPC)."},
		{stage: "final", name: "poison", run: poison,
			does: "among 1000 platforms there are events that are not JSON, that have wrong types, or that the store always refuses."},
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
			does: "two PlatformServices and three CommandsServices run on SQL Server; each in turn is suspended in the middle of its work, and resumed. " + noBackfill},
		{stage: "final", name: "overload", run: overload,
			does: "for 30 s, ten times as many clients as PlatformService serves at once post as fast as they can."},
		{stage: "final", name: "memory", run: memory, killsBroker: true, // it needs a broker with the limits of the manifests
			does: "each service has the memory of its pod, 128 MiB, while one client after the other does what uses the most."},
		{stage: "final", name: "upgrade", run: upgrade,
			does: "07's services are replaced by final's, side by side on one database and one broker, and PlatformService is rolled back."},
		{stage: "final", name: "rotation", run: rotation, killsBroker: true, // it needs a broker with a user of its own
			does: "two replicas of each service get a new password of RabbitMQ, new certificates of a new CA, a new login of SQL Server, and tokens of a new key."},
		{stage: "final", name: "cluster", run: cluster, expect: expectNothingLost, unanswered: true,
			does: "on Kubernetes, each pod is deleted and killed, one of three RabbitMQ nodes is down for a long time, another one loses its disk, and everything is restarted."},
		{stage: "final", name: "sigterm", run: sigterm,
			does: "each service in turn is stopped with SIGTERM under load, and all of them are restarted one after the other."},
	}
}

// forStage returns the drills of the stage in that folder.
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

// delay is how late a slow network delivers, each way.
const delay = 100 * time.Millisecond

// The phases that the expectations below know.
const (
	before     = "before"
	fault      = "fault"
	recovering = "recovering" // the fault has been repaired, and the services have to find each other again
	after      = "after"
)

// commandsSlow puts a slow network between CommandsService and the source of its
// platforms.
func commandsSlow(r *run) {
	platforms, commands := r.pair()
	var network *badnet.Proxy
	if r.brokerURL == "" {
		network = r.addProxy(commands.address())
		platforms.env = append(platforms.env, "COMMANDS_SERVICE_URL=http://"+network.Address()+commandsPath, "COMMANDS_SERVICE_TIMEOUT=1m")
	} else {
		var url string
		network, url = r.addBrokerProxy()
		commands.env = append(commands.env, "RABBITMQ_URL="+url)
	}
	r.begin(usual())
	r.lasts(5 * time.Second)
	network.Set(badnet.State{Delay: delay})
	r.phase(fault)
	r.lasts(5 * time.Second)
	r.accepts(3 * usual().clients) // of the last ones, only a part was slow
	r.phase(after)
	network.Set(badnet.State{})
	r.lasts(5 * time.Second)
	r.finish()
}

// commandsDown kills CommandsService and starts it again.
func commandsDown(r *run) {
	_, commands := r.pair()
	r.begin(usual())
	r.lasts(5 * time.Second)
	commands.kill()
	r.phase(fault)
	r.lasts(5 * time.Second)
	r.accepts(2)
	r.phase(recovering)
	r.restart(commands)
	r.flows()
	r.phase(after)
	r.lasts(5 * time.Second)
	r.accepts(2)
	r.finish()
}

// brokerCrash kills the broker and starts it again.
func brokerCrash(r *run) {
	r.pair()
	r.begin(usual())
	r.lasts(5 * time.Second)
	r.killBroker()
	r.phase(fault)
	r.lasts(3 * time.Second)
	r.accepts(2)
	r.phase(recovering)
	r.restartBroker()
	r.flows()
	r.phase(after)
	r.lasts(5 * time.Second)
	r.finish()
}

// killPlatforms kills PlatformService three times. A crash between saving and
// publishing is rare, so the time between the two is made long: the call of stage
// 02, which stands between them, goes to a server that never responds, and times out
// after 200 ms.
func killPlatforms(r *run) {
	platforms, commands := r.pair()
	silent := r.addProxy(commands.address())
	silent.Set(badnet.State{Stalled: true})
	platforms.env = append(platforms.env,
		"COMMANDS_SERVICE_URL=http://"+silent.Address()+commandsPath, "COMMANDS_SERVICE_TIMEOUT=200ms")
	r.begin(usual())
	r.lasts(3 * time.Second)
	r.phase(fault)
	for range 3 {
		r.lasts(upTo(2 * time.Second))
		platforms.kill()
		r.restart(platforms)
	}
	r.flows()
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
}

// expectUntoldUntilBackfill expects platforms that only the next backfill brings.
func expectUntoldUntilBackfill(r *run) {
	untold := len(r.verdict.untold)
	r.expect("platforms that PlatformService saved and CommandsService has not heard of", untold > 0, "%d", untold)
	r.progress.say("restarting CommandsService, which backfills")
	commands := r.commands[0]
	commands.kill()
	r.restart(commands)
	r.expectWithin(r.recovery(), "all of them to be there once CommandsService was started again", func(ctx context.Context) error {
		list, err := r.client.list(ctx, r.commands, commandsPath)
		has := index(list)
		for _, name := range r.verdict.untold {
			if err == nil && len(has[name]) == 0 {
				err = fmt.Errorf("%s is not there", name)
			}
		}
		return err
	})
}

func expectSlowPosts(r *run) {
	healthy, slow := r.latencyIn(before), r.latencyIn(fault)
	r.expect(fmt.Sprintf("POSTs to take %s and more, there and back (p50)", 2*delay), slow.p50 >= 2*delay,
		"%s, and %s before: %.1f times", rounded(slow.p50), rounded(healthy.p50), ratio(slow.p50, healthy.p50))
	r.expectComplete()
}

func expectFastPosts(r *run) {
	healthy, slow := r.latencyIn(before), r.latencyIn(fault)
	r.expect("POSTs to wait for less than a quarter of the delay (p50)", slow.p50-healthy.p50 < delay/4,
		"%s, and %s before", rounded(slow.p50), rounded(healthy.p50))
	arrival := judge(r.with(r.in(fault))).arrival
	r.expect(fmt.Sprintf("events to come %s later (p50)", delay), arrival.p50 >= delay, "%s after the response", rounded(arrival.p50))
	r.expectComplete()
}

func expectLostWhileDown(r *run) {
	v := judge(r.with(r.in(fault)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expectMostMissing()
	if r.verdict.hasEvents {
		// It may be slower than CommandsService.
		_, _ = r.within(startTimeout, func(context.Context) error {
			r.judge(r.history.platforms)
			if r.verdict.eventsMissing > 0 {
				return errors.New("the second subscriber has not heard of all")
			}
			return nil
		})
		r.expect("the second subscriber to hear of them", r.verdict.eventsMissing == 0, "%d not heard of", r.verdict.eventsMissing)
	}
	r.expectNoWrong()
}

func expectLostWithoutBroker(r *run) {
	v := judge(r.with(r.in(fault)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expectMostMissing()
	r.expectNoWrong()
}

// expectMostMissing expects it of what was accepted during the fault. A POST that had not
// ended when the fault did may have arrived.
func (r *run) expectMostMissing() {
	v := judge(r.with(r.ended(fault)))
	r.expect("most of what is accepted then to be missing", 2*len(v.missing) > v.accepted, "%d of %d missing", len(v.missing), v.accepted)
}

func expectMostlyRepaired(r *run) {
	v := judge(r.with(r.in(fault, recovering)))
	r.expect("every POST to be accepted", v.refused+v.unknown == 0, "%d refused, %d unknown", v.refused, v.unknown)
	r.expect("most of what is accepted then to arrive after all", 2*len(v.missing) < v.accepted, "%d of %d missing", len(v.missing), v.accepted)
	r.expectNoWrong()
}

func expectNothingLost(r *run) {
	r.expectComplete()
}

// expectComplete expects the two services to agree at the end on every accepted
// platform, and on nothing else.
func (r *run) expectComplete() {
	r.expect("platforms to be accepted", r.verdict.accepted > 0, "%d", r.verdict.accepted)
	r.expect("0 missing", len(r.verdict.missing) == 0, "%d", len(r.verdict.missing))
	r.expect("0 that PlatformService has and CommandsService has not", len(r.verdict.untold) == 0, "%d", len(r.verdict.untold))
	r.expectNoWrong()
	if r.loads[0].cfg.keys {
		r.expect("0 created twice", len(r.verdict.duplicated) == 0, "%d, of %d that were sent again", len(r.verdict.duplicated), r.verdict.retried)
	}
}

// expectNoWrong expects neither service to have a platform that it should not have.
func (r *run) expectNoWrong() {
	v := r.verdict
	r.expect("0 duplicated, 0 phantom, 0 under two ids", len(v.duplicated)+len(v.phantom)+len(v.mismatched) == 0,
		"%d, %d, %d", len(v.duplicated), len(v.phantom), len(v.mismatched))
}
