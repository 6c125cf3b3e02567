package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

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
