package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
)

const (
	stepTimeout  = 10 * time.Second // for the broker to answer one request
	lockTimeout  = 30 * time.Second // for another dlq to end
	backTimeout  = 5 * time.Second  // for messages to be in the queue again that a connection held
	pollInterval = 5 * time.Millisecond

	// givenTogether is how many messages are given back at a time. With 32 that wait
	// for the queue's leader, the broker collects the next, and mixes them up.
	givenTogether = 16
)

// deadLetters reads the queue of dead letters, in order and one at a time. What is
// read is held until it is removed or close gives it back.
type deadLetters struct {
	cfg   config
	notes io.Writer // what is worth knowing while it waits
	count int       // of messages when it was opened

	connection *amqp.Connection
	channel    *amqp.Channel
	cut        func()          // ends the connection
	first      *amqp.Delivery  // that get has yet to return; see countByFirst
	seen       int             // messages of this connection
	held       []amqp.Delivery // those of them that were not removed
	removed    bool            // some were
}

// openLetters returns the dead letters, which the caller must close. It waits for
// another dlq that works on them: each would take the other's messages for missing.
func openLetters(ctx context.Context, cfg config, notes io.Writer) (*deadLetters, error) {
	l := &deadLetters{cfg: cfg, notes: notes}
	if err := l.connect(ctx); err != nil {
		return nil, err
	}
	var err error
	l.count, err = l.ready()
	if err == nil && l.count == 0 {
		err = l.countByFirst()
	}
	if err != nil {
		l.disconnect()
		return nil, err
	}
	return l, nil
}

// connect connects, and locks the dead letters.
func (l *deadLetters) connect(ctx context.Context) error {
	// With the end of this context the connection ends, and with it what waits for the broker.
	ctx, cut := context.WithCancel(ctx)
	connection, err := dial(ctx, l.cfg)
	if err != nil {
		cut()
		return explainDial(err)
	}
	l.connection, l.cut = connection, cut
	err = l.within(func() (err error) {
		l.channel, err = connection.Channel()
		return err
	})
	if err == nil {
		err = l.lock(ctx)
	}
	if err != nil {
		l.disconnect()
		return fmt.Errorf("lock the dead letters: %w", err)
	}
	return nil
}

func (l *deadLetters) disconnect() {
	bus.Close(l.connection)
	l.cut()
}

// lock declares a queue that only one connection can have.
func (l *deadLetters) lock(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, lockTimeout)
	defer cancel()
	for waiting := false; ; waiting = true {
		err := l.within(func() error {
			const durable, autoDelete, exclusive, noWait = false, true, true, false
			_, err := l.channel.QueueDeclare(lockName(l.cfg.queue), durable, autoDelete, exclusive, noWait, nil)
			if err == nil {
				return nil
			}
			var again error // the broker has closed the channel
			if l.channel, again = l.connection.Channel(); again != nil {
				return fmt.Errorf("open channel: %w", again)
			}
			return err
		})
		if err == nil {
			return nil
		}
		var refused *amqp.Error
		if !errors.As(err, &refused) || refused.Code != amqp.ResourceLocked {
			return err
		}
		if !waiting {
			fmt.Fprintln(l.notes, "dlq: another dlq works on these dead letters; waiting for it")
		}
		if pause(ctx) != nil {
			return fmt.Errorf("another dlq has held them for more than %s: try again when it has ended", lockTimeout)
		}
	}
}

// lockName returns the name of the queue that stands for the right to read the
// dead letters of queue.
func lockName(queue string) string { return queue + ".dlq" }

// within calls do, and ends the connection if the broker does not answer in time.
func (l *deadLetters) within(do func() error) error {
	timer := time.AfterFunc(stepTimeout, l.cut)
	defer timer.Stop()
	return do()
}

func pause(ctx context.Context) error {
	timer := time.NewTimer(pollInterval)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// ready returns how many messages are in the queue, without those that are held.
func (l *deadLetters) ready() (n int, err error) {
	dead := bus.DeadQueue(l.cfg.queue)
	err = l.within(func() error {
		const durable, autoDelete, exclusive, noWait = true, false, false, false
		queue, err := l.channel.QueueDeclarePassive(dead, durable, autoDelete, exclusive, noWait, nil)
		n = queue.Messages
		return err
	})
	var refused *amqp.Error
	if errors.As(err, &refused) && refused.Code == amqp.NotFound {
		return 0, fmt.Errorf("there is no queue %s: CommandsService makes it when it first connects, and COMMANDS_QUEUE names its queue", quoted(dead))
	}
	if err != nil {
		return 0, fmt.Errorf("open queue %s: %w", quoted(dead), err)
	}
	return n, nil
}

// waitReady waits a while until n messages are in the queue. A quorum queue has
// those back that a connection held a moment after its end.
func (l *deadLetters) waitReady(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, backTimeout)
	defer cancel()
	for {
		if ready, err := l.ready(); err != nil || ready >= n {
			return err
		}
		if pause(ctx) != nil {
			return nil
		}
	}
}

// close gives back what is held, so that the next one finds it in its place, and
// disconnects. What is given back comes after what was given back before: so it
// reads the rest, too. What a connection holds at its end, the broker puts back in
// any order.
func (l *deadLetters) close(ctx context.Context) {
	defer l.disconnect()
	for l.seen < l.count && ctx.Err() == nil {
		d, ok, err := l.getOnce()
		if err != nil || !ok {
			break
		}
		l.hold(d)
	}
	if l.removed { // the broker has removed them once it has answered this
		if d, ok, err := l.getOnce(); err == nil && ok {
			l.hold(d)
		}
	}
	for i, d := range l.held {
		const requeue = true
		if d.Nack(false, requeue) != nil {
			return
		}
		if (i+1)%givenTogether == 0 && l.waitReady(ctx, i+1) != nil {
			return
		}
	}
	_ = l.waitReady(ctx, len(l.held))
}

// errHeld is returned when there are fewer messages than were counted.
var errHeld = errors.New("another program holds them, or has removed them: is a consumer running?")

// countByFirst counts the messages by reading the first. The broker also says that
// there are none when the queue does not answer it within 250 ms.
func (l *deadLetters) countByFirst() error {
	d, ok, err := l.getOnce()
	if err != nil {
		return fmt.Errorf("read a dead letter: %w", err)
	}
	if ok {
		l.hold(d)
		l.first, l.count = &d, 1+int(d.MessageCount)
	}
	return nil
}

// get returns the next message, and holds it.
func (l *deadLetters) get(ctx context.Context) (amqp.Delivery, error) {
	if first := l.first; first != nil {
		l.first = nil
		return *first, nil
	}
	d, ok, err := l.getOnce()
	for began := time.Now(); err == nil && !ok; { // one that was held may be on its way back
		if time.Since(began) > backTimeout || pause(ctx) != nil {
			return d, errHeld
		}
		d, ok, err = l.getOnce()
	}
	if err != nil {
		return d, fmt.Errorf("read a dead letter: %w", err)
	}
	l.hold(d)
	return d, nil
}

func (l *deadLetters) hold(d amqp.Delivery) {
	l.seen++
	l.held = append(l.held, amqp.Delivery{Acknowledger: d.Acknowledger, DeliveryTag: d.DeliveryTag}) // enough to give it back
}

// getOnce asks the broker for the next message.
func (l *deadLetters) getOnce() (d amqp.Delivery, ok bool, err error) {
	err = l.within(func() (err error) {
		const autoAck = false
		d, ok, err = l.channel.Get(bus.DeadQueue(l.cfg.queue), autoAck)
		return err
	})
	return d, ok, err
}

// remove deletes a message that is held.
func (l *deadLetters) remove(d amqp.Delivery) error {
	if err := d.Ack(false); err != nil {
		return fmt.Errorf("delete dead letter %s: %w", quoted(idOf(d)), err)
	}
	l.removed = true
	l.held = slices.DeleteFunc(l.held, func(held amqp.Delivery) bool { return held.DeliveryTag == d.DeliveryTag })
	return nil
}

// idOf returns the id of a message. One without gets an id from its body.
func idOf(d amqp.Delivery) string {
	if d.MessageId != "" {
		return d.MessageId
	}
	return fmt.Sprintf("sha256-%.8x", sha256.Sum256(d.Body))
}

// reason returns why the message is a dead letter: because the service said so or,
// when its consumers died of it, the broker.
func reason(d amqp.Delivery) string {
	if text, ok := d.Headers[bus.ErrorHeader].(string); ok {
		return text
	}
	if deaths, ok := d.Headers["x-death"].([]any); ok && len(deaths) > 0 {
		if death, ok := deaths[0].(amqp.Table); ok {
			return fmt.Sprintf("%v in %v", death["reason"], death["queue"])
		}
	}
	return "unknown"
}

// quoted returns text for a terminal: unchanged or, with characters that could
// mislead, such as a line break or an escape sequence, quoted.
func quoted(text string) string {
	if q := strconv.Quote(text); q != `"`+text+`"` || text == "" || strings.Contains(text, " ") {
		return q
	}
	return text
}

// explainDial adds what to do when there is no broker.
func explainDial(err error) error {
	return fmt.Errorf(`%w
RABBITMQ_URL has to name the broker that the services use: amqp://localhost:5672/ is that of "go tool lab broker";
in a cluster, first "kubectl port-forward service/rabbitmq-clusterip-srv 5672". "make run" has none: its bus is in memory`, err)
}
