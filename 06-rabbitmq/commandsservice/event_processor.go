package commandsservice

import (
	"context"
	"errors"
	"log/slog"
)

// eventProcessor takes events from the bus to the store.
type eventProcessor struct {
	store commandStore
	log   *slog.Logger
}

// newEventProcessor returns a processor that stores platforms in store.
func newEventProcessor(store commandStore, log *slog.Logger) *eventProcessor {
	return &eventProcessor{store: store, log: log}
}

// Process handles one event. There is nobody to return an error to: an event
// that is not for us, or makes no sense, is logged and dropped, and one that
// cannot be stored is logged with all that it said.
func (p *eventProcessor) process(ctx context.Context, body []byte) {
	platform, err := decodePlatformPublished(body)
	if errors.Is(err, errOtherEvent) {
		p.log.Info("event ignored", "reason", err)
		return
	}
	if err != nil {
		p.log.Warn("event dropped", "reason", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	added, err := p.store.addPlatform(ctx, platform)
	if err != nil {
		p.log.Error("event lost: the platform could not be stored",
			"id", platform.ExternalID, "name", platform.Name, "error", err)
		return
	}
	p.log.Info("platform received by event", "id", platform.ExternalID, "name", platform.Name, "new", added)
}
