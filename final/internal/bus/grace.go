package bus

import (
	"context"
	"time"
)

// StopGrace is how long a subscriber that stops waits for the batch in hand.
const StopGrace = 5 * time.Second

// WithGrace returns a context that ends StopGrace after ctx: for what is in hand
// when ctx ends, and must not take forever. The caller must cancel it.
func WithGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	graced, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		timer := time.NewTimer(StopGrace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-graced.Done():
		}
	})
	return graced, cancel
}
