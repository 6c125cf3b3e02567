package commandsservice

import (
	"context"
	"errors"
	"log/slog"
)

// eventProcessor stores what the events from the bus report.
type eventProcessor struct {
	store commandStore
	log   *slog.Logger
}

// process handles one event. There is no caller to return an error to: an event of
// another type, or one that is not valid, is logged and dropped; one that
// cannot be stored is logged with its content.
func (p *eventProcessor) process(ctx context.Context, body []byte) {
	received, err := decodePlatformPublished(body)
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
	added, err := p.store.addPlatform(ctx, received)
	if err != nil {
		p.log.Error("event lost: cannot store the platform", "id", received.ExternalID, "name", received.Name, "error", err)
		return
	}
	p.log.Info("platform received by event", "id", received.ExternalID, "name", received.Name, "new", added)
}
