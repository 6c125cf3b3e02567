package platformservice

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

const (
	relayBatch    = 256                    // events that are published together
	relayInterval = time.Second            // between two looks at the outbox, when nobody calls wake
	relayRefused  = 10 * time.Second       // between two attempts, at most, while the bus refuses an event
	relayPace     = 2 * time.Millisecond   // between two looks when somebody does: under load, events go together
	relayTimeout  = 5 * time.Second        // for one batch to be read, confirmed or marked
	markDelay     = 100 * time.Millisecond // from a confirmation to its mark in the outbox
	pruneInterval = 10 * time.Second       // between two looks for rows to delete
)

// relay takes events from the outbox to the bus: at least once each, and in
// order. Of all relays on one database one does so at a time.
//
// Events are marked as published some time after the bus has confirmed them,
// many at once: a transaction for each would cost as much as the event's own
// did. Those that are not marked yet when the process dies are published twice.
type relay struct {
	store     outboxStore
	publisher bus.Publisher
	metrics   *relayMetrics
	tracer    trace.Tracer
	log       *slog.Logger
	woken     chan struct{} // has a value when there may be a new event
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

func newRelay(store outboxStore, publisher bus.Publisher, metrics *relayMetrics, tracer trace.Tracer, log *slog.Logger) *relay {
	return &relay{store: store, publisher: publisher, metrics: metrics, tracer: tracer, log: log, woken: make(chan struct{}, 1)}
}

// start begins to publish. The store has been migrated.
func (r *relay) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.running.Go(func() { newLease(r.store, r.log).run(ctx, r.work) })
}

// stop finishes the batch in hand. What is pending then waits for another relay,
// or for the next start.
func (r *relay) stop() {
	r.cancel()
	r.running.Wait()
}

// wake says that there is an event. It does not wait.
func (r *relay) wake() {
	select {
	case r.woken <- struct{}{}:
	default: // it has been said
	}
}

// work publishes what is pending, and prunes, until ctx or held ends.
func (r *relay) work(ctx, held context.Context) {
	r.log.Info("relay has the lease")
	var confirmed confirmedEvents
	defer func() {
		if err := r.mark(held, &confirmed); err != nil {
			r.log.Warn("events will be published again", "error", err)
		}
	}()
	spans := publishSpans{tracer: r.tracer, open: map[int64]trace.Span{}}
	defer spans.close()
	var pause time.Duration // after a failure; 0 after a success
	limit := relayBatch     // events that are published together
	var pruned time.Time
	for ctx.Err() == nil && held.Err() == nil {
		began := time.Now()
		published, err := r.publishBatch(held, limit, &confirmed, &spans)
		if err == nil && confirmed.due() <= 0 {
			err = r.mark(held, &confirmed)
		}
		if held.Err() != nil {
			return
		}
		if err != nil {
			if pause == 0 {
				r.log.Warn("events not published, retrying", "error", err)
			}
			longest := relayInterval
			if errors.Is(err, errNotConfirmed) {
				longest = relayRefused
			}
			pause = min(max(2*pause, backoff.First), longest)
			// A queue that is full, perhaps another subscriber's, makes the bus refuse an event
			// that the other queues have got, and get again: only one does at a time.
			limit = 1
			r.wait(ctx, held, pause, nil) // a new event makes success no likelier
			continue
		}
		if pause > 0 {
			r.log.Info("events are published again")
			pause = 0
		}
		if time.Since(pruned) >= pruneInterval && !r.prune(held) {
			pruned = time.Now()
		}
		more := published == limit
		if published > 0 {
			limit = min(2*limit, relayBatch)
		}
		if !more {
			r.wait(ctx, held, min(relayInterval, confirmed.due()), r.woken)
			r.wait(ctx, held, relayPace-time.Since(began), nil)
		}
	}
}

// wait returns after d, and earlier when there is a value in woken or a context ends.
func (r *relay) wait(ctx, held context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	case <-held.Done():
	}
}

// publishBatch publishes up to limit of the first events that are pending and not
// confirmed. It returns how many the bus has taken, and adds them to confirmed.
func (r *relay) publishBatch(held context.Context, limit int, confirmed *confirmedEvents, spans *publishSpans) (published int, err error) {
	ctx, cancel := context.WithTimeout(held, relayTimeout)
	defer cancel()
	events, err := r.store.pendingEvents(ctx, confirmed.last(), limit)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	messages := make([]bus.Message, len(events))
	for i, e := range events {
		spans.start(e)
		messages[i] = e.message
	}
	published, err = r.publisher.Publish(ctx, messages)
	r.metrics.published(published, len(events), err)
	confirmed.add(events[:published])
	spans.end(events[:published])
	return published, err
}

// mark marks the confirmed events in the outbox. It does not need the lease: it
// says what has happened.
func (r *relay) mark(held context.Context, confirmed *confirmedEvents) error {
	if len(confirmed.ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(held), relayTimeout)
	defer cancel()
	if err := r.store.markPublished(ctx, confirmed.ids); err != nil {
		return err
	}
	*confirmed = confirmedEvents{}
	return nil
}

// prune deletes some rows that are no longer needed. It reports whether there
// may be more.
func (r *relay) prune(held context.Context) (more bool) {
	ctx, cancel := context.WithTimeout(held, relayTimeout)
	defer cancel()
	more, err := r.store.prune(ctx)
	if err != nil && held.Err() == nil {
		r.log.Warn("outbox not pruned", "error", err)
	}
	return more
}

// confirmedEvents are the events that the bus has and that are not marked yet.
type confirmedEvents struct {
	ids   []int64
	since time.Time // when the first of them was added
}

func (c *confirmedEvents) add(events []outboxEvent) {
	if len(c.ids) == 0 {
		c.since = time.Now()
	}
	for _, e := range events {
		c.ids = append(c.ids, e.id)
	}
}

// last returns the id after which there are pending events that are not
// confirmed. An id of SQL Server can appear after a greater one. It is seen once
// the others are marked, and this is 0 again.
func (c *confirmedEvents) last() int64 {
	if len(c.ids) == 0 {
		return 0
	}
	return c.ids[len(c.ids)-1]
}

// due returns how long the mark can wait.
func (c *confirmedEvents) due() time.Duration {
	switch {
	case len(c.ids) == 0:
		return relayInterval
	case len(c.ids) >= relayBatch:
		return 0
	}
	return markDelay - time.Since(c.since)
}
