package platformservice

import (
	"context"
	"math/rand/v2"
	"time"
)

// The first pause between two attempts, and the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// backoff paces attempts: each pause is twice the one before, up to
// longestPause. The zero value is ready to use.
type backoff struct {
	pause time.Duration
}

// reset makes the next pause the first again, after an attempt that succeeded.
func (b *backoff) reset() { b.pause = 0 }

// wait pauses until the next attempt is due. It returns ctx's error when that
// ends first.
func (b *backoff) wait(ctx context.Context) error {
	b.pause = min(max(2*b.pause, firstPause), longestPause)
	// Between half the pause and all of it, at random, so that replicas that
	// failed together do not retry together.
	return pauseFor(ctx, b.pause/2+rand.N(b.pause/2))
}

// pauseFor returns nil after d, or ctx's error when that ends first.
func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
