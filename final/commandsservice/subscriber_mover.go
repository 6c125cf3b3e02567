package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

// mover moves messages that were not handled to the queue that holds them for
// their delay and then passes them back, or to the dead letters. The original is
// acknowledged once the message is there: it may be delivered twice, and is never
// lost.
//
// It publishes over a connection of its own, since a broker with an alarm reads
// nothing more from one that has published. Other messages are handled and
// acknowledged meanwhile.
type mover struct {
	*rabbitMQSubscriber
	held    atomic.Int64 // about how many bytes of messages it holds that are not acknowledged
	more    chan struct{}
	running sync.WaitGroup

	mu       sync.Mutex
	failures []failure // that it has not begun to move

	connection *amqp.Connection // nil until there is something to move
	sender     *bus.Sender
}

const (
	movedTogether = 256     // messages, at most
	heldAtMost    = 4 << 20 // bytes of messages that were received one at a time, while none of them can be moved
)

// failure is a message that was not handled, and why.
type failure struct {
	delivery amqp.Delivery
	err      error
}

// size returns about how many bytes the message takes.
func (f failure) size() int64 { return int64(len(f.delivery.Body)) + 1<<10 }

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
func (m *mover) add(d amqp.Delivery, err error) {
	f := failure{d, err}
	m.held.Add(f.size())
	m.mu.Lock()
	m.failures = append(m.failures, f)
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default: // it has been said
	}
}

// finish waits until all is moved, or the mover's context has ended. What is not
// moved by then stays in the queue.
func (m *mover) finish() {
	close(m.more)
	m.running.Wait()
}

func (m *mover) run(ctx context.Context) {
	defer m.disconnect()
	var pause backoff.Backoff
	for {
		failures := m.take(ctx)
		if failures == nil {
			return
		}
		for len(failures) > 0 {
			moved, err := m.move(ctx, failures)
			if failures = failures[moved:]; err == nil {
				pause.Reset()
				continue
			}
			if ctx.Err() != nil {
				return
			}
			m.log.Warn("events that were not handled cannot be moved, retrying", "count", len(failures), "error", err)
			m.disconnect()
			if pause.Wait(ctx) != nil {
				return
			}
		}
	}
}

// take waits for failures. It returns nil when there will be no more, or ctx ends.
func (m *mover) take(ctx context.Context) []failure {
	for {
		m.mu.Lock()
		n := min(len(m.failures), movedTogether)
		taken := slices.Clone(m.failures[:n])
		clear(m.failures[:n]) // for the garbage collector
		m.failures = m.failures[n:]
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

// move publishes the messages and acknowledges their originals. It returns how
// many of the first ones it has moved.
func (m *mover) move(ctx context.Context, failures []failure) (moved int, err error) {
	if err := m.connect(ctx); err != nil {
		return 0, err
	}
	destinations := make([]destination, len(failures))
	waits := make([]func(context.Context) error, len(failures))
	for i, f := range failures {
		destinations[i] = m.destinationOf(f)
		if waits[i], err = m.sender.Send(destinations[i].queue, destinations[i].message); err != nil {
			return 0, err
		}
	}
	retried := 0
	defer func() {
		if retried > 0 {
			m.log.Warn("events not handled, delivered again later", "count", retried, "error", short(failures[0].err))
		}
	}()
	for i, f := range failures {
		if err := waits[i](ctx); err != nil {
			return i, err
		}
		if err := f.delivery.Ack(false); err != nil {
			return i, fmt.Errorf("acknowledge: %w", err)
		}
		m.held.Add(-f.size())
		if destinations[i].dead {
			m.metrics.consumed.WithLabelValues("dead_lettered").Inc()
			m.log.Error("event dead-lettered", "message", f.delivery.MessageId, "attempts", destinations[i].attempts, "error", short(f.err))
		} else {
			m.metrics.consumed.WithLabelValues("retried").Inc()
			retried++
		}
	}
	return len(failures), nil
}

// destination is where a message that was not handled goes.
type destination struct {
	queue    string
	message  amqp.Publishing
	dead     bool // with the dead letters
	attempts int  // including this one
}

// destinationOf returns the queue that holds the message for its next delay, or
// the one of the dead letters when it is unusable or that was its last attempt.
func (s *rabbitMQSubscriber) destinationOf(f failure) destination {
	before := attemptsOf(f.delivery, len(s.delays))
	headers := amqp.Table{bus.AttemptsHeader: int32(before + 1)}
	to := destination{attempts: before + 1, dead: errors.Is(f.err, bus.ErrUnusable) || before >= len(s.delays)}
	if to.dead {
		to.queue = bus.DeadQueue(s.queue)
		headers[bus.ErrorHeader] = short(f.err)
	} else {
		to.queue = retryQueue(s.queue, s.delays[before])
	}
	to.message = bus.Resend(f.delivery, headers)
	return to
}

// attemptsOf returns how often a message was handled without success, from 0 to
// limit. A header is input: one that is not what this service writes counts as
// none, and a number out of range as the nearest in it.
func attemptsOf(d amqp.Delivery, limit int) int {
	n, _ := d.Headers[bus.AttemptsHeader].(int32)
	return min(max(0, int(n)), limit)
}

// short returns the text of an error for a header or the log.
func short(err error) string {
	return strings.ToValidUTF8(fmt.Sprintf("%.500v", err), "?")
}

// connect connects, unless it is connected. The connection is cut when ctx ends:
// a broker with an alarm would not close it.
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
				m.log.Warn("broker blocks publishers, events that were not handled wait", "reason", b.Reason)
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
