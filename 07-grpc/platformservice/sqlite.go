package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"
)

// sqliteStore keeps platforms in SQLite.
type sqliteStore struct {
	db *sql.DB
}

// openSQLite opens a file, or ":memory:".
func openSQLite(file string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("sqlite: needs a file name, or :memory:")
	}
	// The settings of each connection:
	//   _journal_mode=WAL: a writer appends to a log beside the file (a write-ahead
	//   log), so those who read do not wait for it.
	//   _busy_timeout: who finds the file locked waits for up to 5 s.
	//   _txlock: a transaction takes the lock when it begins, not half-way,
	//   when it may no longer wait.
	//   _synchronous: a commit is on the disk when it returns, and outlives a power
	//   cut. The driver's default is faster, and loses the last commits.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() +
		"?_journal_mode=WAL&_busy_timeout=5000&_txlock=immediate&_synchronous=FULL"
	if file == ":memory:" {
		dsn = file
	}
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		return nil, fmt.Errorf("open sqlite: %w", err)
	}
	if file == ":memory:" {
		// Each connection to :memory: opens another, empty database. So there is
		// exactly one connection, which database/sql keeps open.
		db.SetMaxOpenConns(1)
	}
	return &sqliteStore{db: db}, nil
}

func (s *sqliteStore) migrate(ctx context.Context) error {
	return runMigrations(ctx, s.db, goose.DialectSQLite3, "migrations/sqlite")
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
	// Exec returns when the row is committed. A query with RETURNING would show
	// the id first: a commit that fails after that is easily missed.
	result, err := s.db.ExecContext(ctx,
		`INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?)`, p.Name, p.Publisher, p.Cost)
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	id, err := result.LastInsertId()
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	p.ID = int32(id)
	return p, nil
}

func (s *sqliteStore) createIfEmpty(ctx context.Context, platforms []platform) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create if empty: %w", err)
		}
	}()
	tx, err := s.db.BeginTx(ctx, nil) // takes the write lock of a file at once (_txlock)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var count int
	if err := tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM platforms`).Scan(&count); err != nil {
		return err
	}
	if count > 0 {
		return nil
	}
	for _, p := range platforms {
		_, err := tx.ExecContext(ctx,
			`INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?)`, p.Name, p.Publisher, p.Cost)
		if err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqliteStore) ping(ctx context.Context) error {
	var found bool
	if err := s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM platforms)`).Scan(&found); err != nil {
		return fmt.Errorf("query platforms: %w", err)
	}
	return nil
}

func (s *sqliteStore) close() error { return s.db.Close() }

// sqliteUnavailable reports whether err is one that a later call may not get:
// the file is locked by another process, or the disk is full or fails.
func sqliteUnavailable(err error) bool {
	var sqliteErr sqlite3.Error
	return errors.As(err, &sqliteErr) && slices.Contains([]sqlite3.ErrNo{
		sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrFull, sqlite3.ErrIoErr, sqlite3.ErrCantOpen,
	}, sqliteErr.Code)
}
