package outbox

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

// BatchSize is how many events are published together.
const BatchSize = 256

const (
	relayInterval = time.Second            // between two looks at the outbox, without a call of Wake
	relayRefused  = 10 * time.Second       // between two attempts, at most, while the bus refuses an event
	relayPace     = 2 * time.Millisecond   // between two looks after a call: under load, events go together
	relayTimeout  = 5 * time.Second        // for one batch to be read, confirmed or marked
	markDelay     = 100 * time.Millisecond // from a confirmation to its mark in the outbox
	pruneInterval = 10 * time.Second       // between two looks for rows to delete
)

// Relay moves events from the outbox to the bus, each at least once, in order. Only
// one relay of a database works at a time.
//
// Events are marked as published some time after the bus has confirmed them,
// many at once: a transaction for each would cost as much as the event's own
// did. Those that are not marked yet when the process dies are published twice.
type Relay struct {
	store     Store
	publisher bus.Publisher
	metrics   *relayMetrics
	tracer    trace.Tracer
	log       *slog.Logger
	woken     chan struct{} // has a value when there may be a new event
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

// NewRelay returns a relay that is not started. It counts what it publishes in
// outbox_published_events_total, which it registers, and makes a span with tracer for
// each event that is in a trace.
func NewRelay(store Store, publisher bus.Publisher, registry prometheus.Registerer, tracer trace.Tracer, log *slog.Logger) *Relay {
	return &Relay{store: store, publisher: publisher, metrics: newRelayMetrics(registry), tracer: tracer, log: log, woken: make(chan struct{}, 1)}
}

// Start begins to publish. The store has been migrated.
func (r *Relay) Start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.running.Go(func() { newLease(r.store, r.log).run(ctx, r.work) })
}

// Stop finishes the batch in hand, if the relay was started. What is pending then
// waits for another relay, or for the next start.
func (r *Relay) Stop() {
	if r.cancel != nil {
		r.cancel()
	}
	r.running.Wait()
}

// Wake says that there is an event. It does not wait.
func (r *Relay) Wake() {
	select {
	case r.woken <- struct{}{}:
	default: // it has been said
	}
}

// work publishes what is pending, and prunes, until ctx ends: because the relay
// stops, or because the lease is lost. The current batch is finished anyway:
// stopping half-way would not recall what has been sent.
func (r *Relay) work(ctx context.Context) {
	r.log.Info("lease acquired")
	b := batches{Relay: r, spans: publishSpans{tracer: r.tracer, open: map[int64]trace.Span{}}}
	defer b.close(ctx)
	var pause time.Duration // after a failure; 0 after a success
	limit := BatchSize      // events that are published together
	var pruned time.Time
	for ctx.Err() == nil {
		began := time.Now()
		published, err := b.publish(ctx, limit)
		if err == nil && b.confirmed.due() <= 0 {
			err = b.mark(ctx)
		}
		if err != nil {
			if pause == 0 {
				r.log.Warn("publish failed, retrying", "error", err)
			}
			longest := relayInterval
			if errors.Is(err, bus.ErrRefused) {
				longest = relayRefused
			}
			pause = min(max(2*pause, backoff.First), longest)
			// A queue that is full, perhaps another subscriber's, makes the bus refuse an
			// event that the other queues have received, and will receive again. Sent one
			// at a time, only one event does.
			limit = 1
			wait(ctx, pause, nil) // a new event makes success no likelier
			continue
		}
		if pause > 0 {
			r.log.Info("publishing again")
			pause = 0
		}
		if time.Since(pruned) >= pruneInterval && !r.prune(ctx) {
			pruned = time.Now()
		}
		more := published == limit
		if published > 0 {
			limit = min(2*limit, BatchSize)
		}
		if !more {
			wait(ctx, min(relayInterval, b.confirmed.due()), r.woken)
			wait(ctx, relayPace-time.Since(began), nil)
		}
	}
}

// wait returns after d, and earlier when there is a value in woken or ctx ends.
func wait(ctx context.Context, d time.Duration, woken <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-woken:
	case <-ctx.Done():
	}
}

// batches are the events that one holder of the lease publishes.
type batches struct {
	*Relay
	confirmed confirmedEvents
	spans     publishSpans
}

// publish publishes up to limit of the first events that are pending and not
// confirmed. It returns how many the bus has accepted, and adds them to confirmed.
func (b *batches) publish(ctx context.Context, limit int) (published int, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), relayTimeout)
	defer cancel()
	events, err := b.store.PendingEvents(ctx, b.confirmed.last(), limit)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	messages := make([]bus.Message, len(events))
	for i, e := range events {
		b.spans.start(e)
		messages[i] = e.Message
	}
	published, err = b.publisher.Publish(ctx, messages)
	b.metrics.published(published, len(events), err)
	b.confirmed.add(events[:published])
	b.spans.end(events[:published])
	return published, err
}

// mark marks the confirmed events in the outbox. It does not need the lease: it
// says what has happened.
func (b *batches) mark(ctx context.Context) error {
	if len(b.confirmed.ids) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), relayTimeout)
	defer cancel()
	if err := b.store.MarkPublished(ctx, b.confirmed.ids); err != nil {
		return err
	}
	b.confirmed = confirmedEvents{}
	return nil
}

// close leaves what is not published to another holder of the lease.
func (b *batches) close(ctx context.Context) {
	b.spans.close()
	if err := b.mark(ctx); err != nil {
		b.log.Warn("confirmed events not marked, another relay publishes them again", "error", err)
	}
}

// prune deletes some rows that are no longer needed. It reports whether there
// may be more.
func (r *Relay) prune(ctx context.Context) (more bool) {
	attempt, cancel := context.WithTimeout(ctx, relayTimeout)
	defer cancel()
	more, err := r.store.Prune(attempt)
	if err != nil && ctx.Err() == nil {
		r.log.Warn("pruning the outbox failed", "error", err)
	}
	return more
}

// confirmedEvents are the events that the bus has and that are not marked yet.
type confirmedEvents struct {
	ids   []int64
	since time.Time // when the first of them was added
}

func (c *confirmedEvents) add(events []Event) {
	if len(c.ids) == 0 {
		c.since = time.Now()
	}
	for _, e := range events {
		c.ids = append(c.ids, e.ID)
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
	case len(c.ids) >= BatchSize:
		return 0
	}
	return markDelay - time.Since(c.since)
}
