package platformservice

import (
	"context"
	"fmt"
	"log/slog"
	"time"
)

// prepareTimeout bounds one try to make the store ready.
const prepareTimeout = 30 * time.Second

// prepare makes the store ready. A database that is not up yet is waited for:
// there is try after try until one succeeds, ctx ends or cfg.DatabaseWait is
// over. The error is then that of the last try that had its time.
func prepare(ctx context.Context, store platformStore, cfg Config, log *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, cfg.DatabaseWait)
	defer cancel()
	var pause backoff
	var last error
	for {
		err := prepareOnce(ctx, store, cfg.Seed)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if pause.wait(ctx) != nil {
			return fmt.Errorf("the database was not ready within %s (DATABASE_WAIT): %w", cfg.DatabaseWait, last)
		}
		log.Warn("database is not ready, will try again", "error", last)
	}
}

func prepareOnce(ctx context.Context, store platformStore, withSeed bool) error {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := store.migrate(ctx); err != nil {
		return err
	}
	if !withSeed {
		return nil
	}
	return seed(ctx, store)
}
