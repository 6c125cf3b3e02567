package platformservice

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"microcomm/final/internal/migrate"
	"microcomm/final/internal/outbox"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/web"
)

// sqliteApplicationID marks a database file as PlatformService's: "mcPl". See
// https://www.sqlite.org/pragma.html#pragma_application_id.
const sqliteApplicationID = 0x6d63506c

// errForeignDatabase is returned for a database that is not PlatformService's.
var errForeignDatabase = errors.New("DATABASE_URL: the database is not one of PlatformService")

// sqliteStore keeps platforms in SQLite.
type sqliteStore struct {
	name   string // of the file, or :memory:
	file   *sqlite.File
	db     *sql.DB // for reading
	writes *sql.DB // of the writer: one connection. In memory it is db
	writer *sqliteWriter
	sqliteStatements
}

// sqliteReaders is how many connections there are for reading. Each takes up to
// 2 MB for its cache, which Go's memory limit does not see. More readers wait.
const sqliteReaders = 16

// openSQLite opens a file, or ":memory:". With the synchronous mode FULL, what
// is committed outlives a power cut; with NORMAL the last commits may not.
func openSQLite(file, synchronous string) (*sqliteStore, error) {
	if file == "" {
		return nil, errors.New("DATABASE_URL: sqlite: needs a file name, or :memory:")
	}
	// A writer waits for one of another process (busy_timeout, in milliseconds),
	// from the begin of its transaction on (txlock).
	dsn := "file:" + (&url.URL{Path: file}).EscapedPath() + "?_busy_timeout=5000&_txlock=immediate&_stmt_cache_size=32&_synchronous=" + cmp.Or(synchronous, "FULL")
	if file == ":memory:" {
		dsn = "file::memory:?_stmt_cache_size=32"
	}
	opened := &sqlite.File{}
	db := opened.Open(dsn)
	writes := db
	if file == ":memory:" {
		// Each connection to :memory: opens another, empty database. So there is
		// exactly one connection, which database/sql keeps open.
		db.SetMaxOpenConns(1)
	} else {
		db.SetMaxOpenConns(sqliteReaders)
		db.SetMaxIdleConns(sqliteReaders)
		writes = opened.Open(dsn)
		writes.SetMaxOpenConns(1)
	}
	return &sqliteStore{name: file, file: opened, db: db, writes: writes, writer: startSQLiteWriter(writes, opened)}, nil
}

func (s *sqliteStore) migrate(ctx context.Context) error {
	err := sqlite.Claim(ctx, s.db, sqliteApplicationID, "publisher")
	if errors.Is(err, sqlite.ErrForeign) {
		return errForeignDatabase
	}
	if err != nil {
		return err
	}
	if err := migrate.Up(ctx, s.db, goose.DialectSQLite3, migrations, "migrations/sqlite"); err != nil {
		return err
	}
	if err := s.prepare(ctx, s.db, s.writes); err != nil || s.name == ":memory:" {
		return err
	}
	return s.file.Watch(ctx, s.name, sqliteApplicationID)
}

func (s *sqliteStore) platform(ctx context.Context, id int32) (platform, error) {
	if err := ctx.Err(); err != nil {
		return platform{}, fmt.Errorf("get platform %d: %w", id, err)
	}
	// WithoutCancel: for a context that can end, database/sql and the driver start
	// goroutines, which take longer than the row does.
	return scanPlatform(s.selectPlatform.QueryRowContext(context.WithoutCancel(ctx), id), id)
}

func (s *sqliteStore) createPlatform(ctx context.Context, p platform) (created platform, err error) {
	err = s.writer.write(ctx, func(tx *sql.Tx) (err error) {
		created, err = s.insert(ctx, tx, p) // not p itself: this may be called again
		return err
	})
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	return created, nil
}

func (s *sqliteStore) createPlatformOnce(ctx context.Context, key string, p platform) (created platform, replayed bool, err error) {
	var known []byte // the fingerprint that is stored with key
	err = s.writer.write(ctx, func(tx *sql.Tx) error {
		created, replayed = p, true
		err := tx.QueryRow(`SELECT fingerprint, platform_id FROM idempotency_keys WHERE key = ?`, key).Scan(&known, &created.ID)
		if !errors.Is(err, sql.ErrNoRows) {
			return err
		}
		replayed = false
		if created, err = s.insert(ctx, tx, p); err != nil {
			return err
		}
		_, err = tx.Exec(`INSERT INTO idempotency_keys (key, fingerprint, platform_id) VALUES (?, ?, ?)`, key, platformFingerprint(p), created.ID)
		return err
	})
	if err == nil && replayed {
		err = web.CheckFingerprint(known, platformFingerprint(p))
	}
	if err != nil {
		return platform{}, false, fmt.Errorf("create platform: %w", err)
	}
	return created, replayed, nil
}

func (s *sqliteStore) createIfEmpty(ctx context.Context, platforms []platform) error {
	err := s.writer.write(ctx, func(tx *sql.Tx) error {
		var filled bool
		if err := tx.QueryRow(`SELECT EXISTS (SELECT 1 FROM platforms)`).Scan(&filled); err != nil || filled {
			return err
		}
		for _, p := range platforms {
			if _, err := s.insert(ctx, tx, p); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("create if empty: %w", err)
	}
	return nil
}

// insert stores p and its event. ctx is that of the request, for its trace.
func (s *sqliteStore) insert(ctx context.Context, tx *sql.Tx, p platform) (platform, error) {
	result, err := tx.Stmt(s.insertPlatform).Exec(p.Name, p.Publisher, p.Cost)
	if err != nil {
		return platform{}, err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return platform{}, err
	}
	p.ID = int32(id)
	event, err := newEvent(ctx, p)
	if err != nil {
		return platform{}, err
	}
	_, err = tx.Stmt(s.insertEvent).Exec(event.ID, event.Type, event.Body, event.Headers["traceparent"], event.Headers["tracestate"])
	return p, err
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
		return []prometheus.Collector{collectors.NewDBStatsCollector(s.db, "platforms")}
	}
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.db, "platforms"), collectors.NewDBStatsCollector(s.writes, "platforms writer")}
}

func (s *sqliteStore) close() error {
	s.writer.close()
	return errors.Join(s.file.Close(), s.writes.Close(), s.db.Close()) // closing twice what is the same does nothing
}

func (s *sqliteStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	if err := ctx.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	// WithoutCancel: as for one platform. The rows are few enough to hold in memory.
	rows, err := s.selectAfter.QueryContext(context.WithoutCancel(ctx), id, limit+1)
	if err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows, limit)
}

// sqliteNow is the time in milliseconds since 1970. All processes that use a
// SQLite file run on one machine, so it is one clock.
const sqliteNow = `CAST(unixepoch('subsec') * 1000 AS INTEGER)`

func (s *sqliteStore) PendingEvents(ctx context.Context, after int64, limit int) ([]outbox.Event, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	rows, err := s.selectPending.QueryContext(context.WithoutCancel(ctx), after, limit) // as for one platform
	if err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	return outbox.ScanEvents(rows)
}

func (s *sqliteStore) MarkPublished(ctx context.Context, ids []int64) error {
	err := s.writer.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE outbox SET published_at = `+sqliteNow+`
			WHERE id IN (SELECT value FROM json_each(?)) AND published_at IS NULL`, outbox.JSONIDs(ids))
		return err
	})
	if err != nil {
		return fmt.Errorf("mark events published: %w", err)
	}
	return nil
}

func (s *sqliteStore) Stats(ctx context.Context) (pending int, oldest time.Duration, err error) {
	var age int64
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT COUNT(*) FROM outbox WHERE published_at IS NULL),
		COALESCE((SELECT `+sqliteNow+` - created_at FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1), 0)`).Scan(&pending, &age)
	if err != nil {
		return 0, 0, fmt.Errorf("count pending events: %w", err)
	}
	return pending, time.Duration(age) * time.Millisecond, nil
}

func (s *sqliteStore) Prune(ctx context.Context) (more bool, err error) {
	err = s.writer.write(ctx, func(tx *sql.Tx) error {
		// Events are published in the order of their ids. So those to delete are
		// among the first, and no index on published_at is needed.
		events, err := rowsOf(tx.Exec(`DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT ?)
			AND published_at < `+sqliteNow+` - ?`, outbox.PruneLimit, outbox.PublishedRetention.Milliseconds()))
		if err != nil {
			return err
		}
		keys, err := rowsOf(tx.Exec(`DELETE FROM idempotency_keys WHERE key IN (SELECT key FROM idempotency_keys
			WHERE created_at < `+sqliteNow+` - ? LIMIT ?)`, web.IdempotencyRetention.Milliseconds(), outbox.PruneLimit))
		more = events == outbox.PruneLimit || keys == outbox.PruneLimit
		return err
	})
	if err != nil {
		return false, fmt.Errorf("prune: %w", err)
	}
	return more, nil
}

func (s *sqliteStore) AcquireLease(ctx context.Context, owner string, ttl time.Duration) (held bool, err error) {
	err = s.writer.write(ctx, func(tx *sql.Tx) error {
		rows, err := rowsOf(tx.Exec(`UPDATE relay_lease SET owner = ?1, expires_at = `+sqliteNow+` + ?2
			WHERE owner = ?1 OR expires_at <= `+sqliteNow+` OR expires_at > `+sqliteNow+` + ?3`,
			owner, ttl.Milliseconds(), (ttl + outbox.LeaseSlack).Milliseconds()))
		held = rows == 1
		return err
	})
	if err != nil {
		return false, fmt.Errorf("acquire lease: %w", err)
	}
	return held, nil
}

func (s *sqliteStore) ReleaseLease(ctx context.Context, owner string) error {
	err := s.writer.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`UPDATE relay_lease SET owner = '', expires_at = 0 WHERE owner = ?`, owner)
		return err
	})
	if err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}

// rowsOf returns how many rows a statement has changed.
func rowsOf(result sql.Result, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// sqliteStatements are parsed once, because they are used for each request.
type sqliteStatements struct {
	selectPlatform *sql.Stmt
	selectAfter    *sql.Stmt
	selectPending  *sql.Stmt
	insertPlatform *sql.Stmt
	insertEvent    *sql.Stmt
	prepared       bool
}

// prepare parses the statements. It needs the newest schema. A second call does
// nothing.
func (s *sqliteStatements) prepare(ctx context.Context, reads, writes *sql.DB) error {
	if s.prepared {
		return nil
	}
	var errs [5]error
	s.selectPlatform, errs[0] = reads.PrepareContext(ctx, `SELECT id, name, publisher, cost FROM platforms WHERE id = ?`)
	s.selectAfter, errs[4] = reads.PrepareContext(ctx, `SELECT id, name, publisher, cost FROM platforms WHERE id > ? ORDER BY id LIMIT ?`)
	s.selectPending, errs[3] = reads.PrepareContext(ctx, `SELECT id, message_id, type, body, traceparent, tracestate, created_at
		FROM outbox WHERE published_at IS NULL AND id > ? ORDER BY id LIMIT ?`)
	s.insertPlatform, errs[1] = writes.PrepareContext(ctx, `INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?)`)
	s.insertEvent, errs[2] = writes.PrepareContext(ctx,
		`INSERT INTO outbox (message_id, type, body, traceparent, tracestate) VALUES (?, ?, ?, ?, ?)`)
	if err := errors.Join(errs[:]...); err != nil {
		return fmt.Errorf("prepare statements: %w", err)
	}
	s.prepared = true
	return nil
}
