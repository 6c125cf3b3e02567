package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"microcomm/final/internal/bus"
)

// eventProcessor stores what the events from the bus report.
type eventProcessor struct {
	store  commandStore
	onLoss func() // called when an event could not be stored
	log    *slog.Logger
}

// processBatch handles the messages of a batch one by one.
func (p *eventProcessor) processBatch(ctx context.Context, batch []bus.Message) []error {
	errs := make([]error, len(batch))
	for i, m := range batch {
		errs[i] = p.process(ctx, m.Body)
	}
	return errs
}

// process handles one event. An event of another type is ignored. The error is
// bus.ErrUnusable when the event is not valid. For one that cannot be stored onLoss
// is called.
func (p *eventProcessor) process(ctx context.Context, body []byte) error {
	received, err := decodePlatformPublished(body)
	if errors.Is(err, errOtherEvent) {
		p.log.Info("event ignored", "reason", err)
		return nil
	}
	if err != nil {
		p.log.Warn("event dropped", "reason", err)
		return fmt.Errorf("%w: %w", bus.ErrUnusable, err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	added, err := p.store.addPlatform(ctx, received)
	if err != nil {
		p.log.Error("event lost: cannot store the platform", "id", received.ExternalID, "name", received.Name, "error", err)
		p.onLoss()
		return err
	}
	p.log.Info("platform received by event", "id", received.ExternalID, "name", received.Name, "new", added)
	return nil
}
