package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// refusal makes CommandsService's store refuse the platforms named poison-….
const refusal = `CREATE TRIGGER drill_poison BEFORE INSERT ON platforms WHEN NEW.name LIKE 'poison-%'
BEGIN SELECT RAISE(ABORT, 'refused by the drill'); END`

// deadAfter is how long it may take until a message is dead-lettered.
const deadAfter = 3 * time.Minute

// poisonEach is how many poisonous events of each kind there are.
const poisonEach = 5

// poison sends, among good events, some that CommandsService cannot handle.
func poison(r *run) {
	r.pair()
	r.begin(loadConfig{clients: 8, rate: 200, total: r.count(1000)})
	if !r.expectQueue(r.deadQueue()) {
		return
	}
	store := get(openSQLite(r.commandsFile()))
	defer store.Close()
	r.exec(store, refusal)
	r.lasts(2 * time.Second)
	r.phase("poison")
	bodies := r.poisonousEvents()
	must(publish(r.ctx, r.brokerURL, r.exchange(), bodies))
	r.load.wait()

	r.progress.say("waiting for the dead letters")
	dead := r.expectWithin(deadAfter, fmt.Sprintf("%d poisonous events to become dead letters", len(bodies)), func(ctx context.Context) error {
		dead, err := depth(ctx, r.brokerURL, r.deadQueue())
		if err == nil && dead < len(bodies) {
			err = fmt.Errorf("%d of %d are dead letters", dead, len(bodies))
		}
		return err
	})
	r.finish()
	good := judge(r.with(r.in("poison"))).arrival
	r.expectTime("the good ones to arrive at once, within 1s (p99)", good.n > 0 && good.p99 < time.Second, "%s of %d", rounded(good.p99), good.n)

	if dead {
		r.progress.say("replaying those that the store refused")
		r.exec(store, `DROP TRIGGER drill_poison`)
		r.replayRefused(len(bodies))
	}
	r.expectComplete()
}

// poisonousEvents are events that are not JSON, of wrong types, and of platforms that
// the store refuses.
func (r *run) poisonousEvents() [][]byte {
	var bodies [][]byte
	for i := range poisonEach {
		name := fmt.Sprintf("poison-%d", i)
		r.ignore[name] = true
		bodies = append(bodies,
			[]byte("this is not JSON"),
			[]byte(`{"Id":"four","Name":5,"Event":"Platform_Published"}`),
			fmt.Appendf(nil, `{"Id":%d,"Name":%q,"Event":"Platform_Published"}`, 2_000_000_000+i, name))
	}
	return bodies
}

// replayRefused sends the dead letters that the store refused to the queue again, and
// expects them to be stored.
func (r *run) replayRefused(letters int) {
	seen, reasons := 0, 0 // one may have been delivered twice
	must(take(r.ctx, r.brokerURL, r.deadQueue(), r.queue(), func(d amqp.Delivery) bool {
		seen++
		if d.Headers["x-error"] != nil || d.Headers["x-death"] != nil {
			reasons++
		}
		return strings.Contains(string(d.Body), `"poison-`)
	}))
	r.expect("each dead letter to say why, in x-error or x-death", seen >= letters && reasons == seen, "%d of %d do", reasons, seen)
	r.expectWithin(r.recovery(), fmt.Sprintf("the %d that the store refused to be stored when replayed", poisonEach), func(ctx context.Context) error {
		list, err := r.client.list(ctx, r.commands, commandsPath)
		stored := 0
		for _, p := range list {
			if strings.HasPrefix(p.Name, "poison-") {
				stored++
			}
		}
		if err == nil && stored < poisonEach {
			err = fmt.Errorf("%d of %d are stored", stored, poisonEach)
		}
		return err
	})
}
