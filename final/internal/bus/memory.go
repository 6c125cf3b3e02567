// Package bus carries events between services that run in one process.
package bus

import (
	"context"
	"slices"
	"sync"
)

// Memory is a bus in memory. It does what a fanout exchange does: every
// subscriber gets every event that is published while it listens, in order. It
// implements platformservice.Publisher and commandsservice.Subscriber.
//
// The zero value is ready to use. Events wait in memory, without a bound, for
// a subscriber that is slow; what waits is gone with the process.
type Memory struct {
	mu     sync.Mutex
	queues []*queue // one for each subscriber
}

// queue holds what one subscriber has not handled yet.
type queue struct {
	bodies [][]byte
	more   chan struct{} // has a value when bodies may have grown
}

// Publish gives a copy of body to every subscriber. It does not wait for them.
// The error is that of ctx, when that has ended.
func (m *Memory) Publish(ctx context.Context, body []byte) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, q := range m.queues {
		q.bodies = append(q.bodies, slices.Clone(body))
		select {
		case q.more <- struct{}{}:
		default: // it has been told
		}
	}
	return nil
}

// Close does nothing: there is no connection to end.
func (m *Memory) Close() {}

// Run hands the body of each event to handle, one after the other, until ctx
// ends; the event in hand is finished first. OnConnect, unless nil, is called
// once events begin to come.
func (m *Memory) Run(ctx context.Context, handle func(context.Context, []byte), onConnect func()) {
	q := &queue{more: make(chan struct{}, 1)}
	m.mu.Lock()
	m.queues = append(m.queues, q)
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.queues = slices.DeleteFunc(m.queues, func(other *queue) bool { return other == q })
	}()
	if onConnect != nil {
		onConnect()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.more:
		}
		for _, body := range m.take(q) {
			if ctx.Err() != nil {
				return
			}
			handle(context.WithoutCancel(ctx), body)
		}
	}
}

// take empties the queue.
func (m *Memory) take(q *queue) [][]byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	bodies := q.bodies
	q.bodies = nil
	return bodies
}
