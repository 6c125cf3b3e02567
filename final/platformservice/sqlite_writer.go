package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"microcomm/final/internal/sqlite"
)

// maxWrites bounds the writes that share a transaction.
const maxWrites = 64

// errWriterClosed is returned by write once close has been called.
var errWriterClosed = errors.New("the database is closed")

// sqliteWriter makes every change of a SQLite database. SQLite has one writer at
// a time anyway, and most of what a commit costs is waiting for the disk. So
// the writes that arrive during one commit share the next transaction, and its
// wait: group commit.
type sqliteWriter struct {
	db      *sql.DB
	file    *sqlite.File
	queue   chan *sqliteWrite // unbuffered: the callers that wait to send are the queue
	closing context.Context   // ends when close is called
	stop    context.CancelFunc
	done    sync.WaitGroup
}

// sqliteWrite is one caller's part of a transaction.
type sqliteWrite struct {
	ctx    context.Context
	do     func(tx *sql.Tx) error
	result chan error
}

// startSQLiteWriter returns a writer that must be closed.
func startSQLiteWriter(db *sql.DB, file *sqlite.File) *sqliteWriter {
	w := &sqliteWriter{db: db, file: file, queue: make(chan *sqliteWrite)}
	w.closing, w.stop = context.WithCancel(context.Background())
	w.done.Go(w.run)
	return w
}

// close waits for the writes that have begun. Others get errWriterClosed.
func (w *sqliteWriter) close() {
	w.stop()
	w.done.Wait()
}

// write calls do with a transaction, which others may share, and returns when
// that has been committed. An error of do undoes what do changed, and nothing
// of the others. Do may be called twice; only what it did last counts.
//
// When ctx ends before the transaction begins, do is not called. Afterwards ctx
// changes nothing: the caller would not know whether its change was made. How
// long SQLite waits for a lock (busy_timeout) is the bound then.
func (w *sqliteWriter) write(ctx context.Context, do func(tx *sql.Tx) error) error {
	own := &sqliteWrite{ctx: ctx, do: do, result: make(chan error, 1)}
	select {
	case w.queue <- own:
		return <-own.result
	case <-ctx.Done():
		return ctx.Err()
	case <-w.closing.Done():
		return errWriterClosed
	}
}

func (w *sqliteWriter) run() {
	for {
		select {
		case first := <-w.queue:
			w.writeAll(w.collect(first))
		case <-w.closing.Done():
			return
		}
	}
}

// collect returns first and those that wait behind it, up to maxWrites, without
// any whose caller no longer waits.
func (w *sqliteWriter) collect(first *sqliteWrite) []*sqliteWrite {
	writes := []*sqliteWrite{first}
	for more := true; more && len(writes) < maxWrites; {
		select {
		case next := <-w.queue:
			writes = append(writes, next)
		default:
			more = false
		}
	}
	return slices.DeleteFunc(writes, func(own *sqliteWrite) bool {
		err := own.ctx.Err()
		if err != nil {
			own.result <- err
		}
		return err != nil
	})
}

// writeAll commits the writes together. When one of them fails, each is written
// in its own transaction instead. Savepoints would not do: after some
// errors, such as a full disk, SQLite has ended the whole transaction.
func (w *sqliteWriter) writeAll(writes []*sqliteWrite) {
	if len(writes) == 0 {
		return
	}
	own, err := w.commit(writes)
	if own && len(writes) > 1 {
		for i := range writes {
			w.writeAll(writes[i : i+1])
		}
		return
	}
	for _, own := range writes {
		own.result <- err
	}
}

// commit makes the writes in one transaction. It reports whether the error is
// that of one of them, and not of all.
func (w *sqliteWriter) commit(writes []*sqliteWrite) (own bool, err error) {
	// Not the context of any caller: the transaction is not theirs alone.
	tx, err := w.db.BeginTx(context.Background(), nil) // takes the write lock at once (_txlock)
	if err != nil {
		return false, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if err := w.file.Check(); err != nil {
		return false, err
	}
	for _, own := range writes {
		if err := own.do(tx); err != nil {
			return true, err
		}
	}
	if err := tx.Commit(); err != nil {
		return false, fmt.Errorf("commit: %w", err)
	}
	return false, nil
}
