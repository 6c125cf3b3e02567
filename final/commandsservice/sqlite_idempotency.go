package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"microcomm/final/internal/web"
)

func (s *sqliteStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	var known []byte // the fingerprint that is stored with key
	// The transaction has the write lock from its begin on: of several callers with
	// one key the first creates.
	err = s.write(ctx, func(tx *sql.Tx) error {
		if err := pruneSQLiteKeys(ctx, tx); err != nil {
			return err
		}
		created, replayed = c, true
		err := tx.QueryRowContext(ctx, `SELECT fingerprint, command_id FROM idempotency_keys WHERE key = ?`, key).Scan(&known, &created.ID)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		replayed = false
		if created, err = insertSQLite(ctx, tx, c); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO idempotency_keys (key, fingerprint, command_id) VALUES (?, ?, ?)`, key, commandFingerprint(c), created.ID)
		return err
	})
	if err == nil && replayed {
		err = web.CheckFingerprint(known, commandFingerprint(c))
	}
	if err != nil {
		return command{}, false, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	return created, replayed, nil
}

// pruneSQLiteKeys deletes some keys that are older than IdempotencyRetention.
func pruneSQLiteKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
		WHERE created_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - ? ORDER BY created_at LIMIT ?)`,
		web.IdempotencyRetention.Milliseconds(), maxPrunedKeys)
	if err != nil {
		return fmt.Errorf("prune idempotency keys: %w", err)
	}
	return nil
}
