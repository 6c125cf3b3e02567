package platformservice

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	mssql "github.com/microsoft/go-mssqldb"

	"microcomm/final/internal/web"
)

// pendingEvents names the index: published events stay in the table for an hour, and
// a plan made while it was small would read them all.
func (s *sqlServerStore) pendingEvents(ctx context.Context, after int64, limit int) (events []outboxEvent, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, `
			SELECT TOP (@limit) Id, MessageId, Type, Body, TraceParent, TraceState, DATEDIFF_BIG(millisecond, '1970-01-01', CreatedAt)
			FROM dbo.Outbox WITH (INDEX (IX_Outbox_Pending)) WHERE PublishedAt IS NULL AND Id > @after ORDER BY Id`, sql.Named("limit", limit), sql.Named("after", after))
		if err != nil {
			return fmt.Errorf("read pending events: %w", err)
		}
		events, err = scanEvents(rows)
		return err
	})
	return events, err
}

func (s *sqlServerStore) markPublished(ctx context.Context, ids []int64) error {
	_, err := s.exec(ctx, `
		UPDATE dbo.Outbox SET PublishedAt = SYSUTCDATETIME()
		WHERE Id IN (SELECT value FROM OPENJSON(@ids) WITH (value bigint '$')) AND PublishedAt IS NULL`,
		sql.Named("ids", mssql.NVarCharMax(jsonIDs(ids))))
	if err != nil {
		return fmt.Errorf("mark events published: %w", err)
	}
	return nil
}

// outboxStats uses ISNULL: COALESCE evaluates a subquery twice, and can still be
// NULL when an event is published between the two.
// https://learn.microsoft.com/sql/t-sql/language-elements/coalesce-transact-sql#comparing-coalesce-and-case
func (s *sqlServerStore) outboxStats(ctx context.Context) (pending int, oldest time.Duration, err error) {
	var age int64
	err = s.db.Read(ctx, func() error {
		return s.db.QueryRowContext(ctx, `
		SELECT (SELECT COUNT(*) FROM dbo.Outbox WHERE PublishedAt IS NULL),
			ISNULL((SELECT TOP (1) DATEDIFF_BIG(millisecond, CreatedAt, SYSUTCDATETIME())
				FROM dbo.Outbox WHERE PublishedAt IS NULL ORDER BY Id), 0)`).Scan(&pending, &age)
	})
	if err != nil {
		return 0, 0, fmt.Errorf("count pending events: %w", err)
	}
	return pending, time.Duration(age) * time.Millisecond, nil
}

func (s *sqlServerStore) prune(ctx context.Context) (more bool, err error) {
	// Events are published in the order of their ids. So those to delete are among
	// the first, and no index on PublishedAt is needed.
	events, err := s.exec(ctx, `
		DELETE FROM dbo.Outbox WHERE Id IN (SELECT TOP (@limit) Id FROM dbo.Outbox ORDER BY Id)
			AND PublishedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
		sql.Named("limit", pruneLimit), sql.Named("seconds", int(publishedRetention.Seconds())))
	if err != nil {
		return false, fmt.Errorf("prune events: %w", err)
	}
	keys, err := s.exec(ctx, `
		DELETE TOP (@limit) FROM dbo.IdempotencyKeys WHERE CreatedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
		sql.Named("limit", pruneLimit), sql.Named("seconds", int(web.IdempotencyRetention.Seconds())))
	if err != nil {
		return false, fmt.Errorf("prune idempotency keys: %w", err)
	}
	return events == pruneLimit || keys == pruneLimit, nil
}

func (s *sqlServerStore) acquireLease(ctx context.Context, owner string, ttl time.Duration) (bool, error) {
	rows, err := s.exec(ctx, `
		UPDATE dbo.RelayLease SET Owner = @owner, ExpiresAt = DATEADD(millisecond, @ttl, SYSUTCDATETIME())
		WHERE Owner = @owner OR ExpiresAt <= SYSUTCDATETIME() OR ExpiresAt > DATEADD(millisecond, @tooFar, SYSUTCDATETIME())`,
		sql.Named("owner", owner), sql.Named("ttl", ttl.Milliseconds()), sql.Named("tooFar", (ttl+leaseSlack).Milliseconds()))
	if err != nil {
		return false, fmt.Errorf("acquire lease: %w", err)
	}
	return rows == 1, nil
}

func (s *sqlServerStore) releaseLease(ctx context.Context, owner string) error {
	_, err := s.exec(ctx, `
		UPDATE dbo.RelayLease SET Owner = N'', ExpiresAt = '1970-01-01' WHERE Owner = @owner`, sql.Named("owner", owner))
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// exec returns how many rows the statement has changed.
func (s *sqlServerStore) exec(ctx context.Context, statement string, args ...any) (rows int64, err error) {
	err = s.db.Write(func() error {
		result, err := s.db.ExecContext(ctx, statement, args...)
		if err == nil {
			rows, err = result.RowsAffected()
		}
		return err
	})
	return rows, err
}
