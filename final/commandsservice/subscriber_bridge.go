package commandsservice

import (
	"context"
	"errors"

	"microcomm/final/internal/bus"
)

// oneByOne adapts the event processor to a subscriber that receives bodies one at
// a time and cannot retry: onLoss is called for an event that was not stored.
func oneByOne(events *eventProcessor, onLoss func()) func(context.Context, []byte) {
	return func(ctx context.Context, body []byte) {
		err := events.process(ctx, []bus.Message{{Body: body}})[0]
		if errors.Is(err, bus.ErrUnusable) {
			events.log.Warn("event dropped", "reason", err)
		} else if err != nil {
			events.log.Error("event lost: cannot store the platform", "error", err)
			onLoss()
		}
	}
}
