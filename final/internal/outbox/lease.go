package outbox

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"microcomm/final/internal/backoff"
)

// How long a lease lasts, and how often its holder renews it and others ask for
// it: when the holder dies, another has it after LeaseTTL + LeaseInterval at most.
const (
	LeaseTTL      = 3 * time.Second
	LeaseInterval = time.Second
	// leaseMargin is how much earlier than the database the holder considers its
	// lease expired. It allows for clocks of different speeds, and for the time that
	// stopping takes.
	leaseMargin = 500 * time.Millisecond
)

// lease lets one process at a time do something, of all that use a database.
//
// The clocks of the processes may differ. Whether the lease has expired is
// decided by the database, with its clock, when another asks for it. The holder
// does not compare its clock with the database's: it counts LeaseTTL from the
// moment before it asked, by its monotonic clock, so it stops first.
type lease struct {
	store Store
	owner string // this process
	log   *slog.Logger

	failing bool // the last attempt to acquire was an error, which is in the log
}

func newLease(store Store, log *slog.Logger) *lease {
	return &lease{store: store, owner: rand.Text(), log: log}
}

// run calls work whenever it gets the lease, until ctx ends. The context of work
// ends with ctx, or when the lease is lost. It waits for work, which has to return
// soon after that.
func (l *lease) run(ctx context.Context, work func(ctx context.Context)) {
	for {
		if until, ok, _ := l.acquire(ctx); ok {
			l.hold(ctx, until, work)
		}
		if backoff.PauseFor(ctx, LeaseInterval) != nil {
			return
		}
	}
}

// acquire asks for the lease, or renews it. Until is when it expires. The error
// has been logged.
func (l *lease) acquire(ctx context.Context) (until time.Time, ok bool, err error) {
	until = time.Now().Add(LeaseTTL - leaseMargin)
	attempt, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	ok, err = l.store.AcquireLease(attempt, l.owner, LeaseTTL)
	if err != nil && !l.failing && ctx.Err() == nil {
		l.log.Warn("lease not acquired, retrying", "error", err)
	}
	l.failing = err != nil
	return until, ok, err
}

// hold calls work, and renews the lease until ctx ends or the lease is lost.
func (l *lease) hold(ctx context.Context, until time.Time, work func(ctx context.Context)) {
	held, lose := context.WithCancel(ctx)
	defer lose()
	expiry := time.AfterFunc(time.Until(until), lose)
	defer expiry.Stop()
	var working sync.WaitGroup
	working.Go(func() { work(held) })
	renewal := time.NewTicker(LeaseInterval)
	defer renewal.Stop()
	for held.Err() == nil {
		select {
		case <-renewal.C:
			until, ok, err := l.acquire(held)
			if ok {
				expiry.Reset(time.Until(until))
			} else if err == nil { // another has it: the database's clock was changed
				lose()
			}
		case <-held.Done():
		}
	}
	if ctx.Err() == nil {
		l.log.Warn("lease lost")
	}
	working.Wait()
	l.release(ctx)
}

// release lets another process have the lease at once, unless one has it already.
func (l *lease) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), LeaseInterval)
	defer cancel()
	if err := l.store.ReleaseLease(ctx, l.owner); err != nil {
		l.log.Warn("lease not released", "error", err)
	}
}
