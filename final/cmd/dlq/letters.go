package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
)

// confirmTimeout bounds the wait for the broker to confirm a replayed message.
const confirmTimeout = 10 * time.Second

// deadLetters are the messages in the queue of dead letters.
type deadLetters struct {
	channel  *amqp.Channel
	queue    string // of the service
	count    int    // of messages when it was opened
	returned chan amqp.Return
}

func open(connection *amqp.Connection, queue string) (*deadLetters, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirmations: %w", err)
	}
	const durable, autoDelete, exclusive, noWait = true, false, false, false
	dead, err := channel.QueueDeclarePassive(bus.DeadQueue(queue), durable, autoDelete, exclusive, noWait, nil)
	if err != nil {
		return nil, fmt.Errorf("open queue %s: %w", bus.DeadQueue(queue), err)
	}
	return &deadLetters{channel, queue, dead.Messages, channel.NotifyReturn(make(chan amqp.Return, 1))}, nil
}

// all passes each message once. One that is not acknowledged goes back to its
// place when the connection ends.
func (l *deadLetters) all() iter.Seq2[amqp.Delivery, error] {
	return func(yield func(amqp.Delivery, error) bool) {
		for range l.count {
			d, ok, err := l.channel.Get(bus.DeadQueue(l.queue), false)
			if err != nil {
				yield(d, fmt.Errorf("get a dead letter: %w", err))
				return
			}
			if !ok || !yield(d, nil) {
				return
			}
		}
	}
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

func (l *deadLetters) list(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tTIME\tBYTES\tREASON")
	for d, err := range l.all() {
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%.100q\n", idOf(d), d.Timestamp.UTC().Format(time.RFC3339), len(d.Body), reason(d))
	}
	fmt.Fprintf(table, "%d dead letters of %s\n", l.count, l.queue)
	return table.Flush()
}

func (l *deadLetters) show(out io.Writer, id string) error {
	_, err := l.each(id, func(d amqp.Delivery) error {
		fmt.Fprintf(out, "id: %s\ntime: %s\ntype: %s\napp: %s\ncontent type: %s\nreason: %q\n", idOf(d),
			d.Timestamp.UTC().Format(time.RFC3339), d.Type, d.AppId, d.ContentType, reason(d))
		for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
			fmt.Fprintf(out, "header %s: %v\n", name, d.Headers[name])
		}
		fmt.Fprintf(out, "\n%s\n", d.Body)
		return nil
	})
	return err
}

// replay publishes messages to the service's queue, so that no other subscriber
// gets them again, and then removes them.
func (l *deadLetters) replay(ctx context.Context, out io.Writer, id string) error {
	n, err := l.each(id, func(d amqp.Delivery) error {
		ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
		defer cancel()
		const mandatory, immediate = true, false
		confirmation, err := l.channel.PublishWithDeferredConfirm("", l.queue, mandatory, immediate, bus.Resend(d, nil))
		if err != nil {
			return fmt.Errorf("replay %s: %w", idOf(d), err)
		}
		if ack, err := confirmation.WaitContext(ctx); err != nil || !ack {
			return errors.Join(fmt.Errorf("replay %s: not confirmed by the broker", idOf(d)), err)
		}
		select {
		case <-l.returned:
			return fmt.Errorf("replay %s: there is no queue %s", idOf(d), l.queue)
		default:
		}
		return d.Ack(false)
	})
	fmt.Fprintf(out, "%d replayed\n", n)
	return err
}

func (l *deadLetters) drop(out io.Writer, id string) error {
	n, err := l.each(id, func(d amqp.Delivery) error { return d.Ack(false) })
	fmt.Fprintf(out, "%d dropped\n", n)
	return err
}

// each calls do for the messages of this id, or for all, and returns for how
// many it succeeded. That there is none is an error, unless all are meant.
func (l *deadLetters) each(id string, do func(amqp.Delivery) error) (done int, err error) {
	for d, err := range l.all() {
		if err == nil && (id == "all" || id == idOf(d)) {
			if err = do(d); err == nil {
				done++
			}
		}
		if err != nil {
			return done, err
		}
	}
	if done == 0 && id != "all" {
		return 0, fmt.Errorf("no dead letter %s in %s", id, bus.DeadQueue(l.queue))
	}
	return done, nil
}
