package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// backfillTimeout bounds one attempt: the call, and storing its response.
	backfillTimeout = 30 * time.Second
	// hopelessPause is the pause after an error that retrying alone will not fix.
	hopelessPause = time.Minute
)

// backfill stores the platforms whose events this service did not receive.
type backfill struct {
	client    *platformsClient
	store     commandStore
	log       *slog.Logger
	requested chan struct{} // holds at most one request: one run serves all that were made before it
}

// newBackfill returns a backfill whose first run is requested.
func newBackfill(client *platformsClient, store commandStore, log *slog.Logger) *backfill {
	b := &backfill{client: client, store: store, log: log, requested: make(chan struct{}, 1)}
	b.request()
	return b
}

// request requests a run. It does not wait for it.
func (b *backfill) request() {
	select {
	case b.requested <- struct{}{}:
	default: // one is due already
	}
}

// run executes the requested runs until ctx ends.
func (b *backfill) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.requested:
			b.retry(ctx)
		}
	}
}

// retry makes attempts until one succeeds or ctx ends. PlatformService may not
// be up yet.
func (b *backfill) retry(ctx context.Context) {
	var pause backoff
	for {
		err := b.attempt(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if advice := adviceFor(err); advice != "" {
			b.log.Error("backfill failed, retrying in a minute", "advice", advice, "error", err)
			err = pauseFor(ctx, hopelessPause)
		} else {
			b.log.Warn("backfill failed, retrying", "error", err)
			err = pause.wait(ctx)
		}
		if err != nil {
			return
		}
	}
}

func (b *backfill) attempt(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, backfillTimeout)
	defer cancel()
	platforms, err := b.client.platforms(ctx)
	if err != nil {
		return err
	}
	stored := 0
	for _, p := range platforms {
		if err := p.validate(); err != nil {
			b.log.Warn("backfill dropped a platform", "id", p.ExternalID, "reason", err)
			continue
		}
		added, err := b.store.addPlatform(ctx, p)
		if err != nil {
			return fmt.Errorf("store the response: %w", err)
		}
		if added {
			stored++
		}
	}
	b.log.Info("backfill done", "received", len(platforms), "new", stored)
	return nil
}

// adviceFor returns what to do about an error that the next attempt would get
// too, and an empty text for any other.
func adviceFor(err error) string {
	switch status.Code(err) {
	case codes.ResourceExhausted:
		return "the platforms no longer fit into one message of 4 MiB: they must be streamed, as final does"
	case codes.Unimplemented:
		return "PLATFORMS_GRPC_TARGET is not a PlatformService that has GetAllPlatforms: correct it, or update that service"
	}
	return ""
}
