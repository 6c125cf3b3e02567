package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"
)

// sqliteSchema creates the tables, as the .NET service has them: platforms.id is
// internal to this database, and what others call a platform's id is external_id.
const sqliteSchema = `
CREATE TABLE IF NOT EXISTS platforms (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	external_id INTEGER NOT NULL UNIQUE,
	name        TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS commands (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	how_to       TEXT NOT NULL,
	command_line TEXT NOT NULL,
	platform_id  INTEGER NOT NULL REFERENCES platforms (id)
);
CREATE INDEX IF NOT EXISTS commands_platform ON commands (platform_id);`

// sqliteStore keeps platforms and commands in SQLite.
type sqliteStore struct {
	db *sql.DB
}

// openSQLite opens a file, or ":memory:".
func openSQLite(file string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("sqlite: needs a file name, or :memory:")
	}
	// As in PlatformService: readers do not wait for a writer (_journal_mode=WAL), a
	// writer waits up to 5 s for another (_busy_timeout) and takes the lock when it
	// begins (_txlock), and what is committed outlives a power cut (_synchronous).
	// Besides, a command needs its platform (_foreign_keys): SQLite checks that
	// only on request.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() +
		"?_journal_mode=WAL&_busy_timeout=5000&_txlock=immediate&_synchronous=FULL&_foreign_keys=on"
	if file == ":memory:" {
		dsn = "file::memory:?_foreign_keys=on"
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
	if _, err := s.db.ExecContext(ctx, sqliteSchema); err != nil {
		return fmt.Errorf("create tables: %w", err)
	}
	return nil
}

func (s *sqliteStore) platforms(ctx context.Context) ([]platform, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT external_id, name FROM platforms ORDER BY external_id`)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	defer rows.Close()
	var platforms []platform
	for rows.Next() {
		var p platform
		if err := rows.Scan(&p.ExternalID, &p.Name); err != nil {
			return nil, fmt.Errorf("list platforms: %w", err)
		}
		platforms = append(platforms, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return platforms, nil
}

func (s *sqliteStore) platform(ctx context.Context, externalID int32) (platform, error) {
	p := platform{ExternalID: externalID}
	err := s.db.QueryRowContext(ctx, `SELECT name FROM platforms WHERE external_id = ?`, externalID).Scan(&p.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return platform{}, errPlatformNotFound
	}
	if err != nil {
		return platform{}, fmt.Errorf("get platform %d: %w", externalID, err)
	}
	return p, nil
}

func (s *sqliteStore) addPlatform(ctx context.Context, p platform) (bool, error) {
	result, err := s.db.ExecContext(ctx,
		`INSERT INTO platforms (external_id, name) VALUES (?, ?) ON CONFLICT (external_id) DO NOTHING`,
		p.ExternalID, p.Name)
	if err != nil {
		return false, fmt.Errorf("add platform %d: %w", p.ExternalID, err)
	}
	count, err := result.RowsAffected()
	if err != nil {
		return false, fmt.Errorf("add platform %d: %w", p.ExternalID, err)
	}
	return count == 1, nil
}

func (s *sqliteStore) commands(ctx context.Context, platformID int32) ([]command, error) {
	if _, err := s.platform(ctx, platformID); err != nil {
		return nil, err
	}
	rows, err := s.db.QueryContext(ctx, `
		SELECT c.id, c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? ORDER BY c.id`, platformID)
	if err != nil {
		return nil, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	defer rows.Close()
	var commands []command
	for rows.Next() {
		c := command{PlatformID: platformID}
		if err := rows.Scan(&c.ID, &c.HowTo, &c.CommandLine); err != nil {
			return nil, fmt.Errorf("list commands of platform %d: %w", platformID, err)
		}
		commands = append(commands, c)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	return commands, nil
}

func (s *sqliteStore) command(ctx context.Context, platformID, commandID int32) (command, error) {
	if _, err := s.platform(ctx, platformID); err != nil {
		return command{}, err
	}
	c := command{ID: commandID, PlatformID: platformID}
	err := s.db.QueryRowContext(ctx, `
		SELECT c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? AND c.id = ?`, platformID, commandID).Scan(&c.HowTo, &c.CommandLine)
	if errors.Is(err, sql.ErrNoRows) {
		return command{}, errCommandNotFound
	}
	if err != nil {
		return command{}, fmt.Errorf("get command %d of platform %d: %w", commandID, platformID, err)
	}
	return c, nil
}

func (s *sqliteStore) createCommand(ctx context.Context, c command) (command, error) {
	result, err := s.db.ExecContext(ctx, `
		INSERT INTO commands (how_to, command_line, platform_id)
		SELECT ?, ?, id FROM platforms WHERE external_id = ?`, c.HowTo, c.CommandLine, c.PlatformID)
	if err != nil {
		return command{}, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	count, err := result.RowsAffected()
	if err != nil {
		return command{}, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	if count == 0 {
		return command{}, errPlatformNotFound
	}
	id, err := result.LastInsertId()
	if err != nil {
		return command{}, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	c.ID = int32(id)
	return c, nil
}

func (s *sqliteStore) close() error { return s.db.Close() }
