package platformservice

import (
	"context"
	"database/sql"
	"fmt"
	"microcomm/final/internal/sqlserver"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
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

func (s *sqlServerStore) migrate(ctx context.Context) error {
	if err := s.db.Create(ctx); err != nil {
		return err
	}
	if err := s.checkOwner(ctx); err != nil {
		return err
	}
	if err := runMigrations(ctx, s.db.DB, goose.DialectMSSQL, "migrations/sqlserver", goose.WithSessionLocker(sqlserver.MigrationLock{})); err != nil {
		return err
	}
	return s.checkOwner(ctx) // another service may have been the first to migrate it
}

// checkOwner returns errForeignDatabase when there is a table Platforms that is not
// PlatformService's. CommandsService has one of that name too, in its own database.
func (s *sqlServerStore) checkOwner(ctx context.Context) error {
	var foreign bool
	err := s.db.QueryRowContext(ctx, `SELECT CAST(IIF(OBJECT_ID(N'dbo.Platforms') IS NOT NULL
		AND COL_LENGTH(N'dbo.Platforms', N'Publisher') IS NULL, 1, 0) AS bit)`).Scan(&foreign)
	if err != nil {
		return fmt.Errorf("look for another service's tables: %w", err)
	}
	if foreign {
		return errForeignDatabase
	}
	return nil
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
	// The locks are held to the end of the transaction: nobody else inserts meanwhile.
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
