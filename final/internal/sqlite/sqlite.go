// Package sqlite is what both services need to know of a SQLite database beyond
// their queries: which errors pass, whose a file is, and whether it is still the one
// that they opened.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"sync"

	"github.com/mattn/go-sqlite3"
)

// ErrReplaced is returned when a database's file, or one of those beside it
// (-wal, -shm), is no longer the one that was opened. The process still has the
// old file, which is gone when it ends: nothing may be written to it.
var ErrReplaced = errors.New("the database's file was deleted or replaced while the service ran")

// ErrForeign is returned by Claim for a file of another program.
var ErrForeign = errors.New("the database belongs to another program")

// unavailable are the primary result codes that say nothing of the statement:
// the database cannot be had now, and the same call may succeed once it is free,
// has space, or was repaired. A damaged database (CORRUPT, NOTADB) is among them
// for the sake of events: they wait until it has been restored.
//
// Each attempt would return any other code again: the statement is wrong or its data
// is refused. See https://www.sqlite.org/rescode.html.
var unavailable = []sqlite3.ErrNo{
	sqlite3.ErrPerm, sqlite3.ErrAbort, sqlite3.ErrBusy, sqlite3.ErrLocked, sqlite3.ErrNomem, sqlite3.ErrReadonly,
	sqlite3.ErrInterrupt, sqlite3.ErrIoErr, sqlite3.ErrCorrupt, sqlite3.ErrFull, sqlite3.ErrCantOpen,
	sqlite3.ErrProtocol, sqlite3.ErrSchema, sqlite3.ErrNoLFS, sqlite3.ErrNotADB,
}

// Unavailable reports whether err means that the database cannot be had now: a
// later call may succeed.
func Unavailable(err error) bool {
	var failed sqlite3.Error
	return errors.Is(err, ErrReplaced) || errors.As(err, &failed) && slices.Contains(unavailable, failed.Code)
}

// Reason says in words for a probe's response why a database cannot be written.
// It is empty for an error that says no more than that it failed.
func Reason(err error) string {
	var failed sqlite3.Error
	switch {
	case errors.Is(err, ErrReplaced):
		return ErrReplaced.Error()
	case !errors.As(err, &failed):
		return ""
	}
	switch failed.Code {
	case sqlite3.ErrReadonly:
		return "the database is read-only"
	case sqlite3.ErrFull:
		return "the database or its disk is full"
	case sqlite3.ErrIoErr:
		return "the database's disk fails"
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		return "the database is damaged"
	}
	return ""
}

// Claim marks the database with applicationID when it is empty, or already the
// caller's. Otherwise it changes nothing and returns ErrForeign. A file from before
// files were marked is known by its table platforms, which has column.
func Claim(ctx context.Context, db *sql.DB, applicationID int, column string) error {
	// Not with ctx: when that ends, database/sql closes the connection of a
	// transaction, and a database in memory goes with it.
	tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
	var sqliteErr sqlite3.Error
	if errors.As(err, &sqliteErr) && sqliteErr.Code == sqlite3.ErrNotADB {
		return ErrForeign
	}
	if err != nil {
		return fmt.Errorf("open database: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	var id, tables, columns int
	err = tx.QueryRowContext(ctx, `SELECT application_id, (SELECT COUNT(*) FROM sqlite_schema),
		(SELECT COUNT(*) FROM pragma_table_info('platforms') WHERE name = ?)
		FROM pragma_application_id`, column).Scan(&id, &tables, &columns)
	if err != nil {
		return fmt.Errorf("read application id: %w", err)
	}
	empty := id == 0 && tables == 0
	unmarked := id == 0 && columns > 0 // made before files were marked, and known by its table
	if id != applicationID && !empty && !unmarked {
		return ErrForeign
	}
	if _, err := tx.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID)); err != nil {
		return fmt.Errorf("set application id: %w", err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("set application id: %w", err)
	}
	// Write-ahead log: readers do not wait for a writer. The setting is stored in
	// the file.
	if _, err := db.ExecContext(ctx, `PRAGMA journal_mode = WAL`); err != nil {
		return fmt.Errorf("set journal mode: %w", err)
	}
	return nil
}

// File is the file of a database that is open. One that watches nothing, as that
// of a database in memory, has no faults. Any number of goroutines may use it.
type File struct {
	mu     sync.Mutex
	db     *sql.DB                // one connection, kept open: see Watch
	touch  string                 // a statement that writes and changes nothing
	opened map[string]os.FileInfo // of each path, as it was opened
}

// Open returns a pool of connections to dsn. It makes no new connection once
// the file was replaced: that would be one to another database.
func (f *File) Open(dsn string) *sql.DB { return sql.OpenDB(connector{f, dsn}) }

// connector makes the connections of a pool.
type connector struct {
	file *File
	dsn  string
}

func (c connector) Connect(context.Context) (driver.Conn, error) {
	if err := c.file.Check(); err != nil {
		return nil, err
	}
	return c.Driver().Open(c.dsn)
}

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

// Watch begins to watch over the file at path, which holds a database with that
// application id. A second call does nothing.
//
// First it moves what is in the write-ahead log (-wal) into the file, as far as
// other processes let it: otherwise a new database whose -wal is lost would be
// empty. Then it keeps a connection open, because SQLite deletes and creates the
// files beside a database with the last and the first connection.
func (f *File) Watch(ctx context.Context, path string, applicationID int) (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db != nil {
		return nil
	}
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=rw&_busy_timeout=100&_synchronous=FULL")
	if err != nil {
		return fmt.Errorf("watch the database's file: %w", err)
	}
	db.SetMaxOpenConns(1)
	defer func() {
		if err != nil {
			db.Close() // err says more than this one's would
		}
	}()
	if _, err := db.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`); err != nil {
		return fmt.Errorf("move the write-ahead log into the database: %w", err)
	}
	var resolved string // path without links: the names of the others begin with it
	if err := db.QueryRowContext(ctx, `SELECT file FROM pragma_database_list WHERE name = 'main'`).Scan(&resolved); err != nil {
		return fmt.Errorf("read the name of the database's file: %w", err)
	}
	opened := map[string]os.FileInfo{}
	for _, name := range []string{path, resolved + "-wal", resolved + "-shm"} {
		if opened[name], err = os.Stat(name); err != nil {
			return fmt.Errorf("watch the database's file: %w", err)
		}
	}
	f.db, f.opened = db, opened
	f.touch = fmt.Sprintf(`PRAGMA application_id = %d`, applicationID)
	return nil
}

// Close ends the watch.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.db == nil {
		return nil
	}
	err := f.db.Close()
	f.db, f.opened = nil, nil
	return err
}

// Check returns ErrReplaced when the file is no longer the one that was opened.
func (f *File) Check() error {
	f.mu.Lock()
	watched := f.opened // never changed, only replaced
	f.mu.Unlock()
	for path, opened := range watched {
		if now, err := os.Stat(path); err != nil || !os.SameFile(opened, now) {
			return fmt.Errorf("%w: %s", ErrReplaced, path)
		}
	}
	return nil
}

// Ping returns an error when the database cannot be written. It writes, since
// nothing less finds out that a database is read-only or its disk full: on one
// that is read-only, BEGIN IMMEDIATE succeeds. That another writer has the lock
// for the moment is no error.
func (f *File) Ping(ctx context.Context) error {
	if err := f.Check(); err != nil {
		return err
	}
	f.mu.Lock()
	db, touch := f.db, f.touch
	f.mu.Unlock()
	if db == nil {
		return nil
	}
	_, err := db.ExecContext(ctx, touch)
	var failed sqlite3.Error
	if errors.As(err, &failed) && failed.Code == sqlite3.ErrBusy {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write to the database: %w", err)
	}
	return nil
}
