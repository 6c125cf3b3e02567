package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"microcomm/final/internal/backoff"
)

// setUpTimeout bounds one attempt to set up the store.
const setUpTimeout = 30 * time.Second

// setUp makes the store ready for requests. When the database is not up yet it
// retries until it succeeds, ctx ends or cfg.DatabaseWait has passed. The error
// is then that of the last attempt which was not cut short.
func setUp(ctx context.Context, store platformStore, cfg Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.DatabaseWait)
	defer cancel()
	var pause backoff.Backoff
	var last error
	for {
		err := setUpOnce(ctx, store, cfg.Seed)
		if err == nil || errors.Is(err, errForeignDatabase) {
			return err
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if pause.Wait(ctx) != nil {
			return fmt.Errorf("database not ready within %s (DATABASE_WAIT): %w", cfg.DatabaseWait, last)
		}
		log.Warn("database not ready, retrying", "error", last)
	}
}

// setUpOnce is one attempt.
func setUpOnce(ctx context.Context, store platformStore, withSeed bool) error {
	ctx, cancel := context.WithTimeout(ctx, setUpTimeout)
	defer cancel()
	if err := store.migrate(ctx); err != nil {
		return err
	}
	if !withSeed {
		return nil
	}
	return seed(ctx, store)
}
