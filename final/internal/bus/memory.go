package bus

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

const (
	memoryBatch = 256     // messages that are handled together, at most
	memoryLimit = 100_000 // messages that wait in a queue, and the dead letters that it keeps
)

// errFull is returned by Publish while a queue is full.
var errFull = errors.New("a queue of the bus in memory is full")

// Memory is a bus in memory, for services that run in one process. It does what
// RabbitMQ does for them: each queue gets every message, and those who subscribe
// to one queue share its messages.
//
// The zero value is ready to use. What it cannot promise: messages, retries
// and dead letters are gone with the process, confirmed or not. What
// waits in a queue is bounded: Publish refuses more, and of the dead letters
// the latest are kept.
type Memory struct {
	RetryDelays []time.Duration // see RetryDelays, which nil stands for
	Tracer      trace.Tracer    // for a span of each message that is settled; nil: none
	Tap         chan<- Message  // receives a copy of each message that it has room for

	mu     sync.Mutex
	queues map[string]*memoryQueue
}

// DeadLetter is a message that could not be handled, and why.
type DeadLetter struct {
	Message Message
	Reason  string
}

// memoryQueue holds what was not handled yet. The bus's lock guards it.
type memoryQueue struct {
	ready   []memoryEntry
	delayed int        // messages that return to ready later
	grown   *sync.Cond // ready has grown, or a subscriber stops
	dead    []DeadLetter

	consumers int
}

type memoryEntry struct {
	message  Message
	attempts int // that have failed
}

// Connected implements Publisher.
func (m *Memory) Connected() bool { return true }

// Publish implements Publisher.
func (m *Memory) Publish(ctx context.Context, messages []Message) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(messages) > 0 && len(m.queues) == 0 {
		return 0, ErrNoQueue
	}
	for _, q := range m.queues {
		if len(q.ready)+q.delayed+len(messages) > memoryLimit {
			return 0, errFull
		}
	}
	for _, q := range m.queues {
		for _, message := range messages {
			message.Body = slices.Clone(message.Body)
			message.Headers = maps.Clone(message.Headers)
			q.ready = append(q.ready, memoryEntry{message: message})
		}
		q.grown.Broadcast()
	}
	m.copyTo(messages)
	return len(messages), nil
}

// copyTo sends the messages to the tap. It is no queue: what has no room there is lost.
func (m *Memory) copyTo(messages []Message) {
	for _, message := range messages {
		select {
		case m.Tap <- message:
		default: // also when there is none
		}
	}
}

// Close does nothing: there is no connection to end.
func (m *Memory) Close() {}

// Subscriber returns a subscriber to the queue of this name. The queue takes
// messages from now on, whether the subscriber runs or not.
func (m *Memory) Subscriber(queue string) Subscriber {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[queue]
	if q == nil {
		q = &memoryQueue{grown: sync.NewCond(&m.mu)}
		if m.queues == nil {
			m.queues = map[string]*memoryQueue{}
		}
		m.queues[queue] = q
	}
	return &memorySubscriber{bus: m, queue: q}
}

// QueueState is what a queue holds.
type QueueState struct{ Ready, Delayed, Dead, Consumers int }

// State returns what a queue holds now.
func (m *Memory) State(queue string) QueueState {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[queue]
	if q == nil {
		return QueueState{}
	}
	return QueueState{len(q.ready), q.delayed, len(q.dead), q.consumers}
}

// DeadLetters returns the dead letters of a queue, the latest last.
func (m *Memory) DeadLetters(queue string) []DeadLetter {
	m.mu.Lock()
	defer m.mu.Unlock()
	if q := m.queues[queue]; q != nil {
		return slices.Clone(q.dead)
	}
	return nil
}

type memorySubscriber struct {
	bus   *Memory
	queue *memoryQueue
}

// Connected implements Subscriber.
func (s *memorySubscriber) Connected() bool { return true }

// Run implements Subscriber.
func (s *memorySubscriber) Run(ctx context.Context, handle func(context.Context, []Message) []error, onConnect func()) {
	handling, cancel := WithGrace(ctx)
	defer cancel()
	wakeUp := context.AfterFunc(ctx, func() {
		s.bus.mu.Lock()
		defer s.bus.mu.Unlock()
		s.queue.grown.Broadcast()
	})
	defer wakeUp()
	s.count(1)
	defer s.count(-1)
	onConnect()
	for {
		entries := s.take(ctx)
		if entries == nil {
			return
		}
		batch := make([]Message, len(entries))
		for i, entry := range entries {
			batch[i] = entry.message
		}
		errs := handle(handling, batch)
		s.settle(entries, errs, handling.Err() != nil, time.Now())
	}
}

func (s *memorySubscriber) count(consumers int) {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	s.queue.consumers += consumers
}

// take waits for messages and takes them from the queue. It returns nil when
// ctx has ended.
func (s *memorySubscriber) take(ctx context.Context) []memoryEntry {
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	q := s.queue
	for len(q.ready) == 0 && ctx.Err() == nil {
		q.grown.Wait()
	}
	if ctx.Err() != nil {
		return nil
	}
	n := min(len(q.ready), memoryBatch)
	entries := slices.Clone(q.ready[:n])
	clear(q.ready[:n]) // for the garbage collector
	q.ready = q.ready[n:]
	return entries
}

// settle does with each message what its error demands. Those that were
// interrupted go back to the head of the queue.
func (s *memorySubscriber) settle(entries []memoryEntry, errs []error, interrupted bool, began time.Time) {
	if errs == nil {
		errs = make([]error, len(entries))
	}
	delays := s.bus.RetryDelays
	if delays == nil {
		delays = RetryDelays()
	}
	s.bus.mu.Lock()
	defer s.bus.mu.Unlock()
	q := s.queue
	var back []memoryEntry
	for i, err := range errs {
		entry := entries[i]
		switch {
		case err == nil:
			Settled(s.bus.Tracer, began, entry.message, Acknowledged, 0, nil)
		case interrupted:
			back = append(back, entry)
		case errors.Is(err, ErrUnusable) || entry.attempts == len(delays):
			Settled(s.bus.Tracer, began, entry.message, DeadLettered, entry.attempts+1, err)
			q.dead = append(q.dead, DeadLetter{entry.message, err.Error()})
			q.dead = q.dead[max(0, len(q.dead)-memoryLimit):]
		default:
			Settled(s.bus.Tracer, began, entry.message, Retried, entry.attempts+1, err)
			q.delayed++
			time.AfterFunc(delays[entry.attempts], func() {
				s.bus.mu.Lock()
				defer s.bus.mu.Unlock()
				entry.attempts++
				q.delayed--
				q.ready = append(q.ready, entry)
				q.grown.Broadcast()
			})
		}
	}
	if back != nil {
		q.ready = append(back, q.ready...)
		q.grown.Broadcast()
	}
}
