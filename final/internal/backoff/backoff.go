package backoff

import (
	"context"
	"math/rand/v2"
	"time"
)

// The first pause between two attempts, and the longest.
const (
	First        = 100 * time.Millisecond
	LongestPause = 5 * time.Second
)

// Backoff paces attempts: each pause is twice the one before, up to
// LongestPause. The zero value is ready to use.
type Backoff struct {
	Pause time.Duration
}

// Reset makes the next pause the first again, after an attempt that succeeded.
func (b *Backoff) Reset() { b.Pause = 0 }

// Wait pauses until the next attempt is due. It returns ctx's error when that
// ends first.
func (b *Backoff) Wait(ctx context.Context) error {
	b.Pause = min(max(2*b.Pause, First), LongestPause)
	// Between half the pause and all of it, at random, so that replicas that
	// failed together do not retry together.
	return PauseFor(ctx, b.Pause/2+rand.N(b.Pause/2))
}

// PauseFor returns nil after d, or ctx's error when that ends first.
func PauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
