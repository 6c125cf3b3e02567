package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"
)

// backfillTimeout bounds one try: the call, and storing what it brought.
const backfillTimeout = 30 * time.Second

// backfill stores the platforms that were created while nobody here listened.
type backfill struct {
	client    *platformsClient
	store     commandStore
	log       *slog.Logger
	requested chan struct{} // holds one request at most: one run serves all that came before it
}

// newBackfill returns a backfill with its first run requested.
func newBackfill(client *platformsClient, store commandStore, log *slog.Logger) *backfill {
	b := &backfill{client: client, store: store, log: log, requested: make(chan struct{}, 1)}
	b.request()
	return b
}

// request asks for a run. It does not wait for it.
func (b *backfill) request() {
	select {
	case b.requested <- struct{}{}:
	default: // one is due already
	}
}

// run does what is requested, until ctx ends. A run that fails, because
// PlatformService is not up for example, is tried again until it succeeds.
func (b *backfill) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.requested:
		}
		var pause backoff
		for {
			err := b.once(ctx)
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				return
			}
			b.log.Warn("backfill failed, will try again", "error", err)
			if pause.wait(ctx) != nil {
				return
			}
		}
	}
}

func (b *backfill) once(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, backfillTimeout)
	defer cancel()
	platforms, err := b.client.platforms(ctx)
	if err != nil {
		return err
	}
	stored := 0
	for _, p := range platforms {
		if p.ExternalID < 1 || strings.TrimSpace(p.Name) == "" {
			b.log.Warn("backfill dropped a platform without a positive id or a name", "id", p.ExternalID, "name", p.Name)
			continue
		}
		added, err := b.store.addPlatform(ctx, p)
		if err != nil {
			return fmt.Errorf("store what was received: %w", err)
		}
		if added {
			stored++
		}
	}
	b.log.Info("backfill done", "received", len(platforms), "new", stored)
	return nil
}
