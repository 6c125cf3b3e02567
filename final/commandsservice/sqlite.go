package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"microcomm/final/internal/migrate"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/web"
)

// sqliteApplicationID marks a database file as CommandsService's: "mcCo". See
// https://www.sqlite.org/pragma.html#pragma_application_id.
const sqliteApplicationID = 0x6d63436f

// errForeignDatabase is returned for a database that is not CommandsService's.
var errForeignDatabase = errors.New("COMMANDS_DATABASE_URL: the database is not one of CommandsService")

// sqliteStore keeps platforms and commands in SQLite.
type sqliteStore struct {
	name   string // of the file, or :memory:
	file   sqlite.File
	db     *sql.DB // for reading
	writes *sql.DB // one connection: see write. In memory it is db
}

// sqliteReaders is how many connections there are for reading. Each takes up to
// 2 MB for its cache, which Go's memory limit does not see. More readers wait.
const sqliteReaders = 16

// openSQLite opens a file, or ":memory:".
func openSQLite(file string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("COMMANDS_DATABASE_URL: sqlite: needs a file name, or :memory:")
	}
	// A writer takes the lock when its transaction begins (txlock), and waits up
	// to 5 s for another writer (busy_timeout). What is committed outlives a power
	// cut (synchronous): go-sqlite3's own default does not sync each commit. A
	// command needs its platform (foreign_keys): SQLite checks that only on request.
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() +
		"?_busy_timeout=5000&_txlock=immediate&_synchronous=FULL&_foreign_keys=on&_stmt_cache_size=32"
	if file == ":memory:" {
		dsn = "file::memory:?_foreign_keys=on&_stmt_cache_size=32"
	}
	s := &sqliteStore{name: file}
	s.db = s.file.Open(dsn)
	s.writes = s.db
	if file != ":memory:" {
		s.db.SetMaxOpenConns(sqliteReaders)
		s.db.SetMaxIdleConns(sqliteReaders)
		s.writes = s.file.Open(dsn)
	}
	// Each connection to :memory: opens another, empty database. So there is
	// exactly one connection, which database/sql keeps open.
	s.writes.SetMaxOpenConns(1)
	return s, nil
}

func (s *sqliteStore) migrate(ctx context.Context) error {
	err := sqlite.Claim(ctx, s.db, sqliteApplicationID, "external_id")
	if errors.Is(err, sqlite.ErrForeign) {
		return errForeignDatabase
	}
	if err != nil {
		return err
	}
	if err := migrate.Up(ctx, s.db, goose.DialectSQLite3, migrations, "migrations/sqlite"); err != nil || s.name == ":memory:" {
		return err
	}
	return s.file.Watch(ctx, s.name, sqliteApplicationID)
}

func (s *sqliteStore) platform(ctx context.Context, externalID int32) (platform, error) {
	row := s.db.QueryRowContext(ctx, `SELECT name FROM platforms WHERE external_id = ?`, externalID)
	return scanPlatform(row, externalID)
}

func (s *sqliteStore) addPlatform(ctx context.Context, p platform) (bool, error) {
	added := false
	err := s.write(ctx, func(tx *sql.Tx) error {
		result, err := tx.ExecContext(ctx,
			`INSERT INTO platforms (external_id, name) VALUES (?, ?) ON CONFLICT (external_id) DO NOTHING`,
			p.ExternalID, p.Name)
		if err != nil {
			return err
		}
		count, err := result.RowsAffected()
		added = count == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("add platform %d: %w", p.ExternalID, err)
	}
	return added, nil
}

// write calls do with a transaction, and commits that. Every change of the database
// is made here, one at a time: SQLite has one writer anyway, and writers
// that wait for its lock only poll for it. An error from do rolls back its changes.
func (s *sqliteStore) write(ctx context.Context, do func(tx *sql.Tx) error) error {
	conn, err := s.writes.Conn(ctx) // waits for its turn
	if err != nil {
		return err
	}
	defer conn.Close()
	// WithoutCancel: database/sql closes the connection of a transaction whose
	// context ends, and a database in memory would be gone with it. The statements
	// still end with ctx. Begin takes the write lock at once (_txlock).
	tx, err := conn.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := s.file.Check(); err != nil {
		return err
	}
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// upsertRows is how many rows one INSERT has: enough that the statement's own
// cost is small.
const upsertRows = 100

func (s *sqliteStore) upsertPlatforms(ctx context.Context, platforms []platform) (int, error) {
	stored := 0
	err := s.write(ctx, func(tx *sql.Tx) error {
		for rows := range slices.Chunk(lastOfEach(platforms), upsertRows) {
			values := make([]any, 0, 2*upsertRows)
			for _, p := range rows {
				values = append(values, p.ExternalID, p.Name)
			}
			// A row whose name is the same is not written, and not counted.
			result, err := tx.ExecContext(ctx, `INSERT INTO platforms (external_id, name) VALUES (?, ?)`+
				strings.Repeat(`, (?, ?)`, len(rows)-1)+
				` ON CONFLICT (external_id) DO UPDATE SET name = excluded.name WHERE name <> excluded.name`, values...)
			if err != nil {
				return err
			}
			count, err := result.RowsAffected()
			if err != nil {
				return err
			}
			stored += int(count)
		}
		return nil
	})
	if err != nil {
		return 0, fmt.Errorf("upsert platforms: %w", err)
	}
	return stored, nil
}

func (s *sqliteStore) command(ctx context.Context, platformID, commandID int32) (command, error) {
	if _, err := s.platform(ctx, platformID); err != nil {
		return command{}, err
	}
	row := s.db.QueryRowContext(ctx, `
		SELECT c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? AND c.id = ?`, platformID, commandID)
	return scanCommand(row, platformID, commandID)
}

func (s *sqliteStore) createCommand(ctx context.Context, c command) (created command, err error) {
	err = s.write(ctx, func(tx *sql.Tx) (err error) {
		created, err = insertSQLite(ctx, tx, c)
		return err
	})
	if err != nil {
		return command{}, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	return created, nil
}

// insertSQLite stores c, or returns errPlatformNotFound.
func insertSQLite(ctx context.Context, tx *sql.Tx, c command) (command, error) {
	// Not RETURNING: Scan reads no further than its row, and the driver drops the
	// error of what is left of a statement that it caches (_stmt_cache_size).
	result, err := tx.ExecContext(ctx, `
		INSERT INTO commands (how_to, command_line, platform_id)
		SELECT ?, ?, id FROM platforms WHERE external_id = ?`, c.HowTo, c.CommandLine, c.PlatformID)
	if err != nil {
		return command{}, err
	}
	count, err := result.RowsAffected()
	if err != nil {
		return command{}, err
	}
	if count == 0 {
		return command{}, errPlatformNotFound
	}
	id, err := result.LastInsertId()
	c.ID = int32(id)
	return c, err
}

func (s *sqliteStore) ping(ctx context.Context) error {
	if err := s.file.Ping(ctx); err != nil {
		return err
	}
	var some bool
	if err := s.db.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM platforms)`).Scan(&some); err != nil {
		return fmt.Errorf("query platforms: %w", err)
	}
	return nil
}

func (s *sqliteStore) collectors() []prometheus.Collector {
	if s.writes == s.db {
		return []prometheus.Collector{collectors.NewDBStatsCollector(s.db, "commands")}
	}
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.db, "commands"), collectors.NewDBStatsCollector(s.writes, "commands writer")}
}

func (s *sqliteStore) close() error {
	return errors.Join(s.file.Close(), s.writes.Close(), s.db.Close()) // closing twice what is the same does nothing
}

func (s *sqliteStore) platformsAfter(ctx context.Context, externalID int32, limit int) ([]platform, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	// WithoutCancel: for a context that can end, database/sql and the driver start
	// goroutines, which take longer than the rows do. The file is local, and the rows
	// are few enough to hold in memory.
	rows, err := s.db.QueryContext(context.WithoutCancel(ctx),
		`SELECT external_id, name FROM platforms WHERE external_id > ? ORDER BY external_id LIMIT ?`, externalID, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows, limit)
}

func (s *sqliteStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) ([]command, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	rows, err := s.db.QueryContext(context.WithoutCancel(ctx), `
		SELECT c.id, c.how_to, c.command_line
		FROM commands c JOIN platforms p ON p.id = c.platform_id
		WHERE p.external_id = ? AND c.id > ? ORDER BY c.id LIMIT ?`, platformID, id, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	commands, more, err := scanCommands(rows, platformID, limit)
	if err == nil && len(commands) == 0 {
		_, err = s.platform(ctx, platformID) // none, or no such platform
	}
	return commands, more, err
}

func (s *sqliteStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	var known []byte // the fingerprint that is stored with key
	// The transaction has the write lock from its begin on: of several callers with
	// one key the first creates.
	err = s.write(ctx, func(tx *sql.Tx) error {
		if err := pruneSQLiteKeys(ctx, tx); err != nil {
			return err
		}
		created, replayed = c, true
		err := tx.QueryRowContext(ctx, `SELECT fingerprint, command_id FROM idempotency_keys WHERE key = ?`, key).Scan(&known, &created.ID)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		replayed = false
		if created, err = insertSQLite(ctx, tx, c); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO idempotency_keys (key, fingerprint, command_id) VALUES (?, ?, ?)`, key, commandFingerprint(c), created.ID)
		return err
	})
	if err == nil && replayed {
		err = web.CheckFingerprint(known, commandFingerprint(c))
	}
	if err != nil {
		return command{}, false, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	return created, replayed, nil
}

// pruneSQLiteKeys deletes some keys that are older than IdempotencyRetention.
func pruneSQLiteKeys(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
		WHERE created_at < CAST(unixepoch('subsec') * 1000 AS INTEGER) - ? ORDER BY created_at LIMIT ?)`,
		web.IdempotencyRetention.Milliseconds(), maxPrunedKeys)
	if err != nil {
		return fmt.Errorf("prune idempotency keys: %w", err)
	}
	return nil
}
