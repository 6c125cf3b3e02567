package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"microcomm/final/internal/sqlserver"
)

func (s *sqlServerStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if err := s.pruneKeys(ctx); err != nil {
		return command{}, false, err
	}
	created, err = s.replay(ctx, key, c)
	if !errors.Is(err, sql.ErrNoRows) {
		return created, err == nil, err
	}
	err = s.db.Write(func() error {
		created, err = s.createWithKey(ctx, key, c)
		return err
	})
	if sqlserver.Duplicate(err) { // another replica was faster
		created, err = s.replay(ctx, key, c)
		return created, err == nil, err
	}
	if err != nil {
		return command{}, false, err
	}
	return created, false, nil
}

// replay returns c as it was created with key. The error is sql.ErrNoRows for a
// key that is not stored.
func (s *sqlServerStore) replay(ctx context.Context, key string, c command) (command, error) {
	var known []byte
	err := s.db.Read(ctx, func() error {
		return s.db.QueryRowContext(ctx, `SELECT Fingerprint, CommandId FROM dbo.IdempotencyKeys WHERE IdempotencyKey = @key`,
			sql.Named("key", []byte(key))).Scan(&known, &c.ID)
	})
	if err == nil {
		err = checkFingerprint(known, commandFingerprint(c))
	}
	if err != nil {
		return command{}, fmt.Errorf("look up idempotency key: %w", err)
	}
	return c, nil
}

// createWithKey stores c and its key. It does not retry when the connection is
// lost: the transaction may have been committed.
func (s *sqlServerStore) createWithKey(ctx context.Context, key string, c command) (command, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return command{}, fmt.Errorf("create command: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	created, err := insertSQLServer(ctx, tx, c)
	if err != nil {
		return command{}, err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO dbo.IdempotencyKeys (IdempotencyKey, Fingerprint, CommandId) VALUES (@key, @fingerprint, @id)`,
		sql.Named("key", []byte(key)), sql.Named("fingerprint", commandFingerprint(c)), sql.Named("id", created.ID))
	if err != nil {
		return command{}, fmt.Errorf("store idempotency key: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return command{}, fmt.Errorf("create command: %w", err)
	}
	return created, nil
}

// pruneKeys deletes some keys that are older than idempotencyRetention.
func (s *sqlServerStore) pruneKeys(ctx context.Context) error {
	return s.db.Write(func() error {
		_, err := s.db.ExecContext(ctx, `
			DELETE TOP (@limit) FROM dbo.IdempotencyKeys WHERE CreatedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
			sql.Named("limit", maxPrunedKeys), sql.Named("seconds", int(idempotencyRetention.Seconds())))
		if err != nil {
			return fmt.Errorf("prune idempotency keys: %w", err)
		}
		return nil
	})
}
