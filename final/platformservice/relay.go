package platformservice

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"microcomm/final/internal/bus"
)

const (
	relayBatch    = 256              // events that are published together
	relayInterval = time.Second      // between two looks at the outbox, when nobody calls wake
	relayTimeout  = 5 * time.Second  // for one batch to be read, confirmed or marked
	pruneInterval = 10 * time.Second // between two looks for rows to delete
)

// relay takes events from the outbox to the bus: at least once each, and in
// order. Of all relays on one database one does so at a time. An event is
// published twice when the process dies, or the database is away, after the bus
// has confirmed it and before it is marked.
type relay struct {
	store     outboxStore
	publisher bus.Publisher
	metrics   *relayMetrics
	log       *slog.Logger
	woken     chan struct{} // has a value when there may be a new event
	cancel    context.CancelFunc
	running   sync.WaitGroup
}

func newRelay(store outboxStore, publisher bus.Publisher, metrics *relayMetrics, log *slog.Logger) *relay {
	return &relay{store: store, publisher: publisher, metrics: metrics, log: log, woken: make(chan struct{}, 1)}
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
	var pause time.Duration // after a failure; 0 after a success
	var pruned time.Time
	for ctx.Err() == nil && held.Err() == nil {
		published, err := r.publishBatch(held)
		if held.Err() != nil {
			return
		}
		if err != nil {
			if pause == 0 {
				r.log.Warn("events not published, retrying", "error", err)
			}
			pause = min(max(2*pause, firstPause), relayInterval)
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
		if published < relayBatch {
			r.wait(ctx, held, relayInterval, r.woken)
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

// publishBatch publishes the first pending events, and marks those that the bus
// has confirmed. It returns how many these are.
func (r *relay) publishBatch(held context.Context) (published int, err error) {
	ctx, cancel := context.WithTimeout(held, relayTimeout)
	defer cancel()
	events, err := r.store.pendingEvents(ctx, relayBatch)
	if err != nil || len(events) == 0 {
		return 0, err
	}
	messages := make([]bus.Message, len(events))
	ids := make([]int64, len(events))
	for i, e := range events {
		messages[i], ids[i] = e.message, e.id
	}
	confirmed, err := r.publisher.Publish(ctx, messages)
	r.metrics.published(confirmed, len(events), err)
	if confirmed == 0 {
		return 0, err
	}
	// The lease is not needed to say what has happened.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(held), relayTimeout)
	defer cancel()
	return confirmed, errors.Join(err, r.store.markPublished(ctx, ids[:confirmed]))
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
