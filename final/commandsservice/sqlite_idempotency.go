package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

func (s *sqliteStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if err := s.file.Check(); err != nil {
		return command{}, false, fmt.Errorf("create command: %w", err)
	}
	// WithoutCancel: see upsertPlatforms. Begin takes the write lock, so that of
	// several callers with one key the first creates.
	tx, err := s.db.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return command{}, false, fmt.Errorf("create command: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := pruneSQLiteKeys(ctx, tx); err != nil {
		return command{}, false, err
	}
	var known []byte // the fingerprint that is stored with key
	created = c
	err = tx.QueryRowContext(ctx, `SELECT fingerprint, command_id FROM idempotency_keys WHERE key = ?`, key).Scan(&known, &created.ID)
	if err == nil {
		return created, true, checkFingerprint(known, commandFingerprint(c))
	}
	if !errors.Is(err, sql.ErrNoRows) {
		return command{}, false, fmt.Errorf("look up idempotency key: %w", err)
	}
	if created, err = insertSQLite(ctx, tx, c); err != nil {
		return command{}, false, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO idempotency_keys (key, fingerprint, command_id) VALUES (?, ?, ?)`, key, commandFingerprint(c), created.ID)
	if err != nil {
		return command{}, false, fmt.Errorf("store idempotency key: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return command{}, false, fmt.Errorf("create command: %w", err)
	}
	return created, false, nil
}

// pruneSQLiteKeys deletes some keys that are older than idempotencyRetention.
func pruneSQLiteKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
		WHERE created_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - ? ORDER BY created_at LIMIT ?)`,
		idempotencyRetention.Milliseconds(), maxPrunedKeys)
	if err != nil {
		return fmt.Errorf("prune idempotency keys: %w", err)
	}
	return nil
}
