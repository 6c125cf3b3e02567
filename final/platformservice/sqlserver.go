package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"microcomm/final/internal/outbox"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

// sqlServerStore keeps platforms in SQL Server.
type sqlServerStore struct {
	db *sqlserver.DB
}

func openSQLServer(url string) (*sqlServerStore, error) {
	db, err := sqlserver.Open(url)
	if err != nil {
		return nil, fmt.Errorf("DATABASE_URL: %w", err)
	}
	return &sqlServerStore{db: db}, nil
}

// migrate knows the service's own table Platforms by its column: CommandsService has a
// table of that name too, in its own database.
func (s *sqlServerStore) migrate(ctx context.Context) error {
	err := s.db.Migrate(ctx, migrations, "Publisher")
	if errors.Is(err, sqlserver.ErrForeign) {
		return errForeignDatabase
	}
	return err
}

func (s *sqlServerStore) platform(ctx context.Context, id int32) (found platform, err error) {
	err = s.db.Read(ctx, func() error {
		row := s.db.QueryRowContext(ctx,
			`SELECT Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id = @id`, sql.Named("id", id))
		found, err = scanPlatform(row, id)
		return err
	})
	return found, err
}

// ping finds a database that does not respond, and one whose tables are gone or
// another service's.
func (s *sqlServerStore) ping(ctx context.Context) error {
	return s.db.Read(ctx, func() error {
		var found bool
		err := s.db.QueryRowContext(ctx, `SELECT CAST(IIF(EXISTS (SELECT Publisher FROM dbo.Platforms)
			AND EXISTS (SELECT PublishedAt FROM dbo.Outbox), 1, 0) AS bit)`).Scan(&found)
		if err != nil {
			return fmt.Errorf("query platforms and outbox: %w", err)
		}
		return nil
	})
}

func (s *sqlServerStore) createIfEmpty(ctx context.Context, platforms []platform) error {
	var some bool
	// Without locks first: a start must not wait for a replica that is suspended in
	// the middle of a POST.
	err := s.db.QueryRowContext(ctx, `SELECT CAST(IIF(EXISTS (SELECT 1 FROM dbo.Platforms), 1, 0) AS bit)`).Scan(&some)
	if err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	if some {
		return nil
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	var count int
	// The locks are held to the end of the transaction: no other transaction inserts meanwhile.
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM dbo.Platforms WITH (TABLOCKX, HOLDLOCK)`).Scan(&count)
	if err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	if count > 0 {
		return nil
	}
	for _, p := range platforms {
		if _, err := insertSQLServer(ctx, tx, p); err != nil {
			return fmt.Errorf("create if empty: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	return nil
}

func (s *sqlServerStore) collectors() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.db.DB, "platforms")}
}

func (s *sqlServerStore) close() error { return s.db.Close() }

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
		INSERT INTO dbo.Platforms (Name, Publisher, Cost) OUTPUT inserted.ID VALUES (@name, @publisher, @cost)`,
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

func (s *sqlServerStore) platformsAfter(ctx context.Context, id int32, limit int) (platforms []platform, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx,
			`SELECT TOP (@limit) Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id > @id ORDER BY Id`,
			sql.Named("limit", limit+1), sql.Named("id", id))
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, more, err = scanPlatforms(rows, limit)
		return err
	})
	return platforms, more, err
}

// PendingEvents names the index: published events stay in the table for an hour, and
// a plan made while it was small would read them all.
func (s *sqlServerStore) PendingEvents(ctx context.Context, after int64, limit int) (events []outbox.Event, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, `
			SELECT TOP (@limit) Id, MessageId, Type, Body, TraceParent, TraceState, DATEDIFF_BIG(millisecond, '1970-01-01', CreatedAt)
			FROM dbo.Outbox WITH (INDEX (IX_Outbox_Pending)) WHERE PublishedAt IS NULL AND Id > @after ORDER BY Id`, sql.Named("limit", limit), sql.Named("after", after))
		if err != nil {
			return fmt.Errorf("read pending events: %w", err)
		}
		events, err = outbox.ScanEvents(rows)
		return err
	})
	return events, err
}

func (s *sqlServerStore) MarkPublished(ctx context.Context, ids []int64) error {
	_, err := s.exec(ctx, `
		UPDATE dbo.Outbox SET PublishedAt = SYSUTCDATETIME()
		WHERE Id IN (SELECT value FROM OPENJSON(@ids) WITH (value bigint '$')) AND PublishedAt IS NULL`,
		sql.Named("ids", mssql.NVarCharMax(outbox.JSONIDs(ids))))
	if err != nil {
		return fmt.Errorf("mark events published: %w", err)
	}
	return nil
}

// Stats uses ISNULL: COALESCE evaluates a subquery twice, and can still be
// NULL when an event is published between the two.
// https://learn.microsoft.com/sql/t-sql/language-elements/coalesce-transact-sql#comparing-coalesce-and-case
func (s *sqlServerStore) Stats(ctx context.Context) (pending int, oldest time.Duration, err error) {
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

func (s *sqlServerStore) Prune(ctx context.Context) (more bool, err error) {
	// Events are published in the order of their ids. So those to delete are among
	// the first, and no index on PublishedAt is needed.
	events, err := s.exec(ctx, `
		DELETE FROM dbo.Outbox WHERE Id IN (SELECT TOP (@limit) Id FROM dbo.Outbox ORDER BY Id)
			AND PublishedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
		sql.Named("limit", outbox.PruneLimit), sql.Named("seconds", int(outbox.PublishedRetention.Seconds())))
	if err != nil {
		return false, fmt.Errorf("prune events: %w", err)
	}
	keys, err := s.exec(ctx, `
		DELETE TOP (@limit) FROM dbo.IdempotencyKeys WHERE CreatedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
		sql.Named("limit", outbox.PruneLimit), sql.Named("seconds", int(web.IdempotencyRetention.Seconds())))
	if err != nil {
		return false, fmt.Errorf("prune idempotency keys: %w", err)
	}
	return events == outbox.PruneLimit || keys == outbox.PruneLimit, nil
}

func (s *sqlServerStore) AcquireLease(ctx context.Context, owner string, ttl time.Duration) (bool, error) {
	rows, err := s.exec(ctx, `
		UPDATE dbo.RelayLease SET Owner = @owner, ExpiresAt = DATEADD(millisecond, @ttl, SYSUTCDATETIME())
		WHERE Owner = @owner OR ExpiresAt <= SYSUTCDATETIME() OR ExpiresAt > DATEADD(millisecond, @tooFar, SYSUTCDATETIME())`,
		sql.Named("owner", owner), sql.Named("ttl", ttl.Milliseconds()), sql.Named("tooFar", (ttl+outbox.LeaseSlack).Milliseconds()))
	if err != nil {
		return false, fmt.Errorf("acquire lease: %w", err)
	}
	return rows == 1, nil
}

func (s *sqlServerStore) ReleaseLease(ctx context.Context, owner string) error {
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
