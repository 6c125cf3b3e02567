package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	"github.com/mattn/go-sqlite3"
)

const sqliteSchema = `
CREATE TABLE IF NOT EXISTS platforms (
	id        INTEGER PRIMARY KEY AUTOINCREMENT, -- an id is never assigned twice
	name      TEXT NOT NULL,
	publisher TEXT NOT NULL,
	cost      TEXT NOT NULL
)`

// sqliteApplicationID marks a database file as PlatformService's: "mcPl". See
// https://www.sqlite.org/pragma.html#pragma_application_id.
const sqliteApplicationID = 0x6d63506c

// errForeignDatabase is returned for a file that is not PlatformService's.
var errForeignDatabase = errors.New("DATABASE_URL: the file is not a database of PlatformService")

// sqliteStore keeps platforms in SQLite.
type sqliteStore struct {
	db *sql.DB
}

// openSQLite opens a file, or ":memory:".
func openSQLite(file string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("DATABASE_URL: sqlite: needs a file name, or :memory:")
	}
	// A writer takes the lock when its transaction begins (txlock), and waits up
	// to 5 s for another writer (busy_timeout). What is committed outlives a power
	// cut (synchronous): go-sqlite3's own default does not sync each commit.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?_busy_timeout=5000&_txlock=immediate&_synchronous=FULL"
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
	if err := s.claim(ctx); err != nil {
		return err
	}
	if _, err := s.db.ExecContext(ctx, sqliteSchema); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	return nil
}

// claim marks the database as PlatformService's when it is empty, or already
// PlatformService's. Otherwise it changes nothing and returns errForeignDatabase.
func (s *sqliteStore) claim(ctx context.Context) error {
	// Not with ctx: when that ends, database/sql closes the connection of a
	// transaction, and a database in memory goes with it.
	tx, err := s.db.BeginTx(context.WithoutCancel(ctx), nil)
	var sqliteErr sqlite3.Error
	if errors.As(err, &sqliteErr) && sqliteErr.Code == sqlite3.ErrNotADB {
		return errForeignDatabase
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	var id, tables, columns int
	err = tx.QueryRowContext(ctx, `SELECT application_id, (SELECT COUNT(*) FROM sqlite_schema),
		(SELECT COUNT(*) FROM pragma_table_info('platforms') WHERE name = 'publisher')
		FROM pragma_application_id`).Scan(&id, &tables, &columns)
	if err != nil {
		return fmt.Errorf("read application id: %w", err)
	}
	empty := id == 0 && tables == 0
	unmarked := id == 0 && columns > 0 // made before files were marked, and known by its table
	if id != sqliteApplicationID && !empty && !unmarked {
		return errForeignDatabase
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, sqliteApplicationID)); err != nil {
		return fmt.Errorf("set application id: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("set application id: %w", err)
	}
	// Write-ahead log: readers do not wait for a writer. The setting is stored in
	// the file.
	if _, err := s.db.ExecContext(ctx, `PRAGMA journal_mode = WAL`); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	return nil
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

func (s *sqliteStore) createIfEmpty(ctx context.Context, platforms []platform) error {
	tx, err := s.db.BeginTx(ctx, nil) // takes the write lock of a file at once (_txlock)
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

func (s *sqliteStore) ping(ctx context.Context) error {
	var any bool
	if err := s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM platforms)`).Scan(&any); err != nil {
		return fmt.Errorf("query platforms: %w", err)
	}
	return nil
}

func (s *sqliteStore) close() error { return s.db.Close() }
