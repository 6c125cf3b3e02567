package platformservice

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"microcomm/final/internal/web"
)

// sqliteNow is the time in milliseconds since 1970. All processes that use a
// SQLite file run on one machine, so it is one clock.
const sqliteNow = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`

func (s *sqliteStore) pendingEvents(ctx context.Context, after int64, limit int) ([]outboxEvent, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	rows, err := s.selectPending.QueryContext(context.WithoutCancel(ctx), after, limit) // as for one platform
	if err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	return scanEvents(rows)
}

func (s *sqliteStore) markPublished(ctx context.Context, ids []int64) error {
	err := s.writer.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET published_at = `+sqliteNow+`
			WHERE id IN (SELECT value FROM json_each(?)) AND published_at IS NULL`, jsonIDs(ids))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark events published: %w", err)
	}
	return nil
}

func (s *sqliteStore) outboxStats(ctx context.Context) (pending int, oldest time.Duration, err error) {
	var age int64
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM outbox WHERE published_at IS NULL),
		COALESCE((SELECT `+sqliteNow+` - created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1), 0)`).Scan(&pending, &age)
	if err != nil {
		return 0, 0, fmt.Errorf("count pending events: %w", err)
	}
	return pending, time.Duration(age) * time.Millisecond, nil
}

func (s *sqliteStore) prune(ctx context.Context) (more bool, err error) {
	err = s.writer.write(ctx, func(tx *sql.Tx) error {
		// Events are published in the order of their ids. So those to delete are
		// among the first, and no index on published_at is needed.
		events, err := rowsOf(tx.Exec(`DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT ?)
			AND published_at < `+sqliteNow+` - ?`, pruneLimit, publishedRetention.Milliseconds()))
		if err != nil {
			return err
		}
		keys, err := rowsOf(tx.Exec(`DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
			WHERE created_at < `+sqliteNow+` - ? LIMIT ?)`, web.IdempotencyRetention.Milliseconds(), pruneLimit))
		more = events == pruneLimit || keys == pruneLimit
		return err
	})
	if err != nil {
		return false, fmt.Errorf("prune: %w", err)
	}
	return more, nil
}

func (s *sqliteStore) acquireLease(ctx context.Context, owner string, ttl time.Duration) (held bool, err error) {
	err = s.writer.write(ctx, func(tx *sql.Tx) error {
		rows, err := rowsOf(tx.Exec(`UPDATE relay_lease SET owner = ?1, expires_at = `+sqliteNow+` + ?2
			WHERE owner = ?1 OR expires_at <= `+sqliteNow+` OR expires_at > `+sqliteNow+` + ?3`,
			owner, ttl.Milliseconds(), (ttl + leaseSlack).Milliseconds()))
		held = rows == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("acquire lease: %w", err)
	}
	return held, nil
}

func (s *sqliteStore) releaseLease(ctx context.Context, owner string) error {
	err := s.writer.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE relay_lease SET owner = '', expires_at = 0 WHERE owner = ?`, owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// rowsOf returns how many rows a statement has changed.
func rowsOf(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
