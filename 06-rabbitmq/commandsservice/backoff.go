package commandsservice

import (
	"context"
	"math/rand/v2"
	"time"
)

// The first pause between two tries, and the longest.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
)

// backoff paces tries: each pause is twice the one before, up to longestPause.
// The zero value is ready to use.
type backoff struct {
	pause time.Duration
}

// reset makes the next pause the first again, after a try that succeeded.
func (b *backoff) reset() { b.pause = 0 }

// wait pauses until the next try is due. It returns ctx's error when that ends
// first.
func (b *backoff) wait(ctx context.Context) error {
	b.pause = min(max(2*b.pause, firstPause), longestPause)
	// Somewhere between half the pause and all of it, so that replicas that
	// failed together do not try again together.
	timer := time.NewTimer(b.pause/2 + rand.N(b.pause/2))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
