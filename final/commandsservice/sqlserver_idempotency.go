package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

func (s *sqlServerStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if err := s.pruneKeys(ctx); err != nil {
		return command{}, false, err
	}
	created, err = s.replay(ctx, key, c)
	if !errors.Is(err, sql.ErrNoRows) {
		return created, err == nil, err
	}
	created, err = s.create(ctx, c, key)
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
		err = web.CheckFingerprint(known, commandFingerprint(c))
	}
	if err != nil {
		return command{}, fmt.Errorf("look up idempotency key: %w", err)
	}
	return c, nil
}

// pruneKeys deletes some keys that are older than IdempotencyRetention.
func (s *sqlServerStore) pruneKeys(ctx context.Context) error {
	return s.db.Write(func() error {
		_, err := s.db.ExecContext(ctx, `
			DELETE TOP (@limit) FROM dbo.IdempotencyKeys WHERE CreatedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
			sql.Named("limit", maxPrunedKeys), sql.Named("seconds", int(web.IdempotencyRetention.Seconds())))
		if err != nil {
			return fmt.Errorf("prune idempotency keys: %w", err)
		}
		return nil
	})
}
