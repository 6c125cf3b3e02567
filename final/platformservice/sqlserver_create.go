package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	mssql "github.com/microsoft/go-mssqldb"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

func (s *sqlServerStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	created, err := s.create(ctx, p, "")
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	return created, nil
}

func (s *sqlServerStore) createPlatformOnce(ctx context.Context, key string, p platform) (created platform, replayed bool, err error) {
	created, err = s.replay(ctx, key, p)
	if !errors.Is(err, sql.ErrNoRows) {
		return created, err == nil, err
	}
	created, err = s.create(ctx, p, key)
	if sqlserver.Duplicate(err) { // another replica was faster
		created, err = s.replay(ctx, key, p)
		return created, err == nil, err
	}
	if err != nil {
		return platform{}, false, fmt.Errorf("create platform: %w", err)
	}
	return created, false, nil
}

// replay returns p as it was created with key. The error is sql.ErrNoRows for a
// key that is not stored.
func (s *sqlServerStore) replay(ctx context.Context, key string, p platform) (platform, error) {
	var known []byte
	err := s.db.Read(ctx, func() error {
		return s.db.QueryRowContext(ctx, `SELECT Fingerprint, PlatformId FROM dbo.IdempotencyKeys WHERE IdempotencyKey = @key`,
			sql.Named("key", []byte(key))).Scan(&known, &p.ID)
	})
	if err == nil {
		err = web.CheckFingerprint(known, platformFingerprint(p))
	}
	if err != nil {
		return platform{}, fmt.Errorf("look up idempotency key: %w", err)
	}
	return p, nil
}

// create stores p, its event and the key, unless that is empty. It does not
// retry when the connection is lost: the transaction may have been committed.
func (s *sqlServerStore) create(ctx context.Context, p platform, key string) (created platform, err error) {
	err = s.db.Write(func() error {
		created, err = s.createInTransaction(ctx, p, key)
		return err
	})
	return created, err
}

func (s *sqlServerStore) createInTransaction(ctx context.Context, p platform, key string) (platform, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return platform{}, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if p, err = insertSQLServer(ctx, tx, p); err != nil {
		return platform{}, err
	}
	if key != "" {
		_, err := tx.ExecContext(ctx, `INSERT INTO dbo.IdempotencyKeys (IdempotencyKey, Fingerprint, PlatformId) VALUES (@key, @fingerprint, @id)`,
			sql.Named("key", []byte(key)), sql.Named("fingerprint", platformFingerprint(p)), sql.Named("id", p.ID))
		if err != nil {
			return platform{}, err
		}
	}
	if err := tx.Commit(); err != nil {
		return platform{}, fmt.Errorf("commit: %w", err)
	}
	return p, nil
}

// insertSQLServer stores p and its event.
func insertSQLServer(ctx context.Context, tx *sql.Tx, p platform) (platform, error) {
	// A Go string arrives as nvarchar, as the columns are, so no text is lost to a code
	// page. NVarCharMax, because a plain string is declared with its length, and SQL
	// Server keeps a plan for each. The driver has no LastInsertId; the statement itself
	// returns the new id.
	err := tx.QueryRowContext(ctx, `
		INSERT INTO dbo.Platforms (Name, Publisher, Cost) OUTPUT inserted.Id VALUES (@name, @publisher, @cost)`,
		sql.Named("name", mssql.NVarCharMax(p.Name)), sql.Named("publisher", mssql.NVarCharMax(p.Publisher)),
		sql.Named("cost", mssql.NVarCharMax(p.Cost))).Scan(&p.ID)
	if err != nil {
		return platform{}, err
	}
	event, err := newEvent(ctx, p)
	if err != nil {
		return platform{}, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO dbo.Outbox (MessageId, Type, Body, TraceParent, TraceState) VALUES (@id, @type, @body, @traceparent, @tracestate)`,
		sql.Named("id", event.ID), sql.Named("type", event.Type), sql.Named("body", event.Body),
		sql.Named("traceparent", mssql.NVarCharMax(event.Headers["traceparent"])),
		sql.Named("tracestate", mssql.NVarCharMax(event.Headers["tracestate"])))
	return p, err
}
