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

// deadAfter is how long the bounded redelivery of a message may take.
const deadAfter = 3 * time.Minute

// poison sends events that nobody can handle among good ones.
func poison(ctx context.Context, r *run) error {
	if _, err := r.pair(); err != nil {
		return err
	}
	if err := r.begin(ctx, loadConfig{clients: 8, rate: 200, total: r.count(1000)}); err != nil {
		return err
	}
	if !r.expectQueue(ctx, r.deadQueue()) {
		return nil
	}
	store, err := openSQLite(r.commandsFile())
	if err != nil {
		return err
	}
	defer store.Close()
	if _, err := store.ExecContext(ctx, refusal); err != nil {
		return fmt.Errorf("make the store refuse: %w", err)
	}
	const each = 5
	var bodies [][]byte
	for i := range each {
		name := fmt.Sprintf("poison-%d", i)
		r.ignore[name] = true
		bodies = append(bodies,
			[]byte("this is not JSON"),
			[]byte(`{"Id":"four","Name":5,"Event":"Platform_Published"}`),
			fmt.Appendf(nil, `{"Id":%d,"Name":%q,"Event":"Platform_Published"}`, 2_000_000_000+i, name))
	}
	if err := r.lasts(ctx, r.times(2*time.Second)); err != nil {
		return err
	}
	r.phase("poison")
	if err := publish(ctx, r.brokerURL, r.exchange(), bodies); err != nil {
		return err
	}
	r.load.wait()

	r.progress.say("waiting for the dead letters")
	took, err := r.within(ctx, deadAfter, func(ctx context.Context) error {
		dead, err := depth(ctx, r.brokerURL, r.deadQueue())
		if err == nil && dead < len(bodies) {
			err = fmt.Errorf("%d of %d are dead letters", dead, len(bodies))
		}
		return err
	})
	r.expect(fmt.Sprintf("%d poisonous events to become dead letters", len(bodies)), err == nil, "%s", tookOr(took, err))
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	good := judge(r.with(r.in("poison"))).arrival
	r.expectTime("the good ones to arrive at once, within 1s (p99)", good.n > 0 && good.p99 < time.Second, "%s of %d", rounded(good.p99), good.n)

	if err == nil {
		r.progress.say("replaying those that the store refused")
		if _, err := store.ExecContext(ctx, `DROP TRIGGER drill_poison`); err != nil {
			return fmt.Errorf("let the store accept again: %w", err)
		}
		reasons := 0
		err := take(ctx, r.brokerURL, r.deadQueue(), r.queue(), func(d amqp.Delivery) bool {
			if d.Headers["x-error"] != nil || d.Headers["x-death"] != nil {
				reasons++
			}
			return strings.Contains(string(d.Body), `"poison-`)
		})
		if err != nil {
			return err
		}
		r.expect("each dead letter to say why, in x-error or x-death", reasons == len(bodies), "%d of %d do", reasons, len(bodies))
		took, err := r.within(ctx, r.recovery(), func(ctx context.Context) error {
			list, err := r.client.list(ctx, r.commands, commandsPath)
			stored := 0
			for _, p := range list {
				if strings.HasPrefix(p.Name, "poison-") {
					stored++
				}
			}
			if err == nil && stored < each {
				err = fmt.Errorf("%d of %d are stored", stored, each)
			}
			return err
		})
		r.expect(fmt.Sprintf("the %d that the store refused to be stored when replayed", each), err == nil, "%s", tookOr(took, err))
	}
	r.expectComplete()
	return nil
}
