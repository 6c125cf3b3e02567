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
	return runMigrations(ctx, s.db.DB, goose.DialectMSSQL, "migrations/sqlserver", goose.WithSessionLocker(sqlserver.MigrationLock{}))
}

func (s *sqlServerStore) platforms(ctx context.Context) (platforms []platform, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, `SELECT Id, Name, Publisher, Cost FROM dbo.Platforms ORDER BY Id`)
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, err = scanPlatforms(rows)
		return err
	})
	return platforms, err
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

func (s *sqlServerStore) ping(ctx context.Context) error {
	return s.db.Read(ctx, func() error { return s.db.PingContext(ctx) })
}

func (s *sqlServerStore) createIfEmpty(ctx context.Context, platforms []platform) error {
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
