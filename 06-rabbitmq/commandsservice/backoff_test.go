package commandsservice

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestBackoff(t *testing.T) {
	t.Run("each pause is twice the one before, up to the longest", func(t *testing.T) {
		ended, cancel := context.WithCancel(t.Context())
		cancel() // no need to wait for any of them
		var b backoff
		var pauses []time.Duration
		for range 8 {
			assert.ErrorIs(t, b.wait(ended), context.Canceled)
			pauses = append(pauses, b.pause)
		}
		const ms = time.Millisecond
		assert.Equal(t, []time.Duration{100 * ms, 200 * ms, 400 * ms, 800 * ms, 1600 * ms, 3200 * ms, 5000 * ms, 5000 * ms}, pauses)
		b.reset()
		assert.ErrorIs(t, b.wait(ended), context.Canceled)
		assert.Equal(t, firstPause, b.pause)
	})

	t.Run("a pause ends after half its length at the earliest", func(t *testing.T) {
		var b backoff
		started := time.Now()
		assert.NoError(t, b.wait(t.Context()))
		assert.GreaterOrEqual(t, time.Since(started), firstPause/2)
	})
}
