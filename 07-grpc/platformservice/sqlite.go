package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	"github.com/pressly/goose/v3"
)

// sqliteStore keeps platforms in SQLite.
type sqliteStore struct {
	db *sql.DB
}

// openSQLite opens a file, or ":memory:".
func openSQLite(file string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("DATABASE_URL: sqlite: needs a file name, or :memory:")
	}
	// Writers wait for each other (busy_timeout, in milliseconds), readers do
	// not wait for a writer (WAL).
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?_busy_timeout=5000&_journal_mode=WAL&_txlock=immediate"
	if file == ":memory:" {
		dsn = file
	}
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	if file == ":memory:" {
		// Each connection of a :memory: database is another, empty database.
		// So there is exactly one, and it is never closed.
		db.SetMaxOpenConns(1)
		db.SetConnMaxLifetime(0)
		db.SetConnMaxIdleTime(0)
	}
	return &sqliteStore{db: db}, nil
}

func (s *sqliteStore) migrate(ctx context.Context) error {
	return migrate(ctx, s.db, goose.DialectSQLite3, "migrations/sqlite")
}

func (s *sqliteStore) platforms(ctx context.Context) ([]platform, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT id, name, publisher, cost FROM platforms ORDER BY id`)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows)
}

func (s *sqliteStore) platform(ctx context.Context, id int32) (platform, error) {
	row := s.db.QueryRowContext(ctx, `SELECT id, name, publisher, cost FROM platforms WHERE id = ?`, id)
	return scanPlatform(row, id)
}

func (s *sqliteStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	row := s.db.QueryRowContext(ctx,
		`INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?) RETURNING id`, p.Name, p.Publisher, p.Cost)
	if err := row.Scan(&p.ID); err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	return p, nil
}

func (s *sqliteStore) createIfEmpty(ctx context.Context, platforms []platform) error {
	tx, err := s.db.BeginTx(ctx, nil) // takes the write lock at once (_txlock)
	if err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	var count int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM platforms`).Scan(&count); err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	if count > 0 {
		return nil
	}
	for _, p := range platforms {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?)`, p.Name, p.Publisher, p.Cost)
		if err != nil {
			return fmt.Errorf("create if empty: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	return nil
}

func (s *sqliteStore) ping(ctx context.Context) error { return s.db.PingContext(ctx) }

func (s *sqliteStore) close() error { return s.db.Close() }
