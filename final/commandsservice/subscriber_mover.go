package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

// delivery is a message from the broker, and the error of handling it.
type delivery struct {
	amqp.Delivery
	err error // nil: it was handled
}

// size returns about how many bytes the message takes in memory.
func (d delivery) size() int64 { return int64(len(d.Body)) + 1<<10 }

// mover moves messages that were not handled: to the queue that holds them for
// their delay and then returns them, or to the dead letters. The original is
// acknowledged once its copy is confirmed, so it may be delivered twice and is
// never lost.
//
// The mover publishes over its own connection, because a broker with an alarm stops
// reading from a connection that has published. Meanwhile, other messages are
// handled and acknowledged.
type mover struct {
	*rabbitMQSubscriber
	held    atomic.Int64 // about how many bytes of messages it holds that are not acknowledged
	more    chan struct{}
	running sync.WaitGroup

	mu     sync.Mutex
	failed []delivery // that it has not begun to move

	connection *amqp.Connection // nil until there is something to move
	sender     *bus.Sender
}

const (
	movedTogether = 256     // messages, at most
	heldAtMost    = 4 << 20 // bytes of messages that were received one at a time, while none of them can be moved
)

// startMover returns a mover that works until ctx ends, or finish is called.
func (s *rabbitMQSubscriber) startMover(ctx context.Context) *mover {
	m := &mover{rabbitMQSubscriber: s, more: make(chan struct{}, 1)}
	m.running.Go(func() { m.run(ctx) })
	return m
}

// idle reports whether every message that was added is acknowledged.
func (m *mover) idle() bool { return m.held.Load() == 0 }

// room reports whether it may hold more messages.
func (m *mover) room() bool { return m.held.Load() < heldAtMost }

// add has the mover move a message. It does not wait.
func (m *mover) add(d delivery) {
	m.held.Add(d.size())
	m.mu.Lock()
	m.failed = append(m.failed, d)
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default: // it knows already
	}
}

// finish waits until every message is moved, or the mover's context has ended.
// Messages that are not moved by then stay in the queue.
func (m *mover) finish() {
	close(m.more)
	m.running.Wait()
}

func (m *mover) run(ctx context.Context) {
	defer m.disconnect()
	var pause backoff.Backoff
	for {
		failed := m.take(ctx)
		if failed == nil {
			return
		}
		for len(failed) > 0 {
			moved, err := m.move(ctx, failed)
			if failed = failed[moved:]; err == nil {
				pause.Reset()
				continue
			}
			if ctx.Err() != nil {
				return
			}
			m.log.Warn("unhandled events not moved, retrying", "count", len(failed), "error", err)
			m.disconnect()
			if pause.Wait(ctx) != nil {
				return
			}
		}
	}
}

// take waits for messages to move. It returns nil when there will be no more, or
// ctx ends.
func (m *mover) take(ctx context.Context) []delivery {
	for {
		m.mu.Lock()
		n := min(len(m.failed), movedTogether)
		taken := slices.Clone(m.failed[:n])
		clear(m.failed[:n]) // for the garbage collector
		m.failed = m.failed[n:]
		m.mu.Unlock()
		if n > 0 {
			return taken
		}
		select {
		case _, ok := <-m.more:
			if !ok {
				return nil
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// move publishes copies of the messages and acknowledges the originals. It returns
// how many of the first ones it has moved.
func (m *mover) move(ctx context.Context, failed []delivery) (moved int, err error) {
	if err := m.connect(ctx); err != nil {
		return 0, err
	}
	began := time.Now()
	type move struct {
		delivery
		to        destination
		confirmed func(context.Context) error // waits for it
	}
	moves := make([]move, len(failed))
	for i, d := range failed {
		to := destinationOf(d, m.queue, m.delays)
		confirmed, err := m.sender.Send(to.queue, to.message)
		if err != nil {
			return 0, err
		}
		moves[i] = move{d, to, confirmed}
	}
	retried := 0
	defer func() {
		if retried > 0 {
			m.log.Warn("events not handled, delivered again later", "count", retried, "error", short(failed[0].err))
		}
	}()
	for i, v := range moves {
		if err := v.confirmed(ctx); err != nil {
			return i, err
		}
		if err := v.Ack(false); err != nil {
			return i, fmt.Errorf("acknowledge: %w", err)
		}
		m.held.Add(-v.size())
		if v.to.dead {
			m.settled(began, v.delivery, bus.DeadLettered, v.to.attempts)
			m.metrics.consumed.WithLabelValues("dead_lettered").Inc()
			m.log.Error("event dead-lettered", "message", v.MessageId, "attempts", v.to.attempts, "error", short(v.err))
		} else {
			m.settled(began, v.delivery, bus.Retried, v.to.attempts)
			m.metrics.consumed.WithLabelValues("retried").Inc()
			retried++
		}
	}
	return len(failed), nil
}

// destination is where a message that was not handled goes.
type destination struct {
	queue    string
	message  amqp.Publishing
	dead     bool // it is a dead letter
	attempts int  // including the last one
}

// destinationOf returns where a message from queue goes that was not handled: to
// the queue that holds it for its next delay, or to the dead letters when the
// message is unusable or has had all its attempts.
func destinationOf(d delivery, queue string, delays []time.Duration) destination {
	before := attemptsOf(d.Delivery, len(delays))
	headers := amqp.Table{bus.AttemptsHeader: int32(before + 1)}
	to := destination{attempts: before + 1, dead: errors.Is(d.err, bus.ErrUnusable) || before >= len(delays)}
	if to.dead {
		to.queue = bus.DeadQueue(queue)
		headers[bus.ErrorHeader] = short(d.err)
	} else {
		to.queue = retryQueue(queue, delays[before])
	}
	to.message = bus.Resend(d.Delivery, headers)
	return to
}

// attemptsOf returns how many attempts to handle a message have failed, from 0 to
// limit. The header is input: a value of another type than this service writes
// counts as 0, and a number out of range as the nearest one in range.
func attemptsOf(d amqp.Delivery, limit int) int {
	n, _ := d.Headers[bus.AttemptsHeader].(int32)
	return min(max(0, int(n)), limit)
}

// short returns the text of an error for a header or the log.
func short(err error) string {
	return strings.ToValidUTF8(fmt.Sprintf("%.500v", err), "?")
}

// connect connects, unless there is a connection. The connection is cut when ctx
// ends, because a broker with an alarm would not close it.
func (m *mover) connect(ctx context.Context) error {
	if m.connection != nil {
		return nil
	}
	connection, err := bus.Dial(ctx, m.url, m.tls, 0)
	if err != nil {
		return err
	}
	m.connection = connection
	blocked := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	m.running.Go(func() {
		for b := range blocked { // until the connection ends
			if b.Active {
				m.log.Warn("broker blocks publishers, unhandled events wait", "reason", b.Reason)
			}
		}
	})
	m.sender, err = bus.NewSender(connection)
	return err
}

// disconnect ends the connection, if there is one.
func (m *mover) disconnect() {
	if m.connection != nil {
		bus.Close(m.connection)
		m.connection, m.sender = nil, nil
	}
}
