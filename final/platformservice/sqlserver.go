package platformservice

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
	"github.com/pressly/goose/v3"
)

// Error numbers of SQL Server, from
// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
const (
	sqlServerDatabaseExists     = 1801
	sqlServerCannotOpenDatabase = 4060 // it is missing, or this login has no access
	sqlServerDuplicateKey       = 2627 // of a constraint
	sqlServerDuplicateIndexKey  = 2601
	sqlServerDeadlock           = 1205
	sqlServerLockTimeout        = 1222
	sqlServerFilegroupFull      = 1105
	sqlServerLogFull            = 9002
	sqlServerShuttingDown       = 6005
)

// sqlServerStore keeps platforms in SQL Server.
type sqlServerStore struct {
	db     *sql.DB
	config msdsn.Config
}

func isSQLServer(url string) bool {
	lower := strings.ToLower(url)
	return strings.HasPrefix(lower, "sqlserver://") ||
		strings.HasPrefix(lower, "server=") || strings.HasPrefix(lower, "data source=")
}

func openSQLServer(url string) (*sqlServerStore, error) {
	config, err := msdsn.Parse(url)
	if err != nil {
		return nil, errors.New("DATABASE_URL: not a SQL Server URL or connection string that can be read")
	}
	if config.Database == "" {
		return nil, errors.New("DATABASE_URL: the SQL Server database is not named (database=… or Initial Catalog=…)")
	}
	if config.ConnTimeout == 0 {
		// The driver uses a context only to dial. A server that accepts and then
		// says nothing is given up after this long; no answer takes longer to begin.
		config.ConnTimeout = 15 * time.Second
	}
	return &sqlServerStore{db: sql.OpenDB(mssql.NewConnectorConfig(config)), config: config}, nil
}

func (s *sqlServerStore) migrate(ctx context.Context) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	return runMigrations(ctx, s.db, goose.DialectMSSQL, "migrations/sqlserver", goose.WithSessionLocker(appLock{}))
}

// createDatabase creates the database if it is missing. That is done through
// master, and needs a login that may do so. A login that may not finds the
// database there already, created for it.
func (s *sqlServerStore) createDatabase(ctx context.Context) error {
	err := s.db.PingContext(ctx)
	if err == nil {
		return nil
	}
	if !isSQLServerError(err, sqlServerCannotOpenDatabase) {
		return fmt.Errorf("connect to database %s: %w", s.config.Database, err)
	}
	config := s.config
	config.Database = "master"
	master := sql.OpenDB(mssql.NewConnectorConfig(config))
	defer master.Close()
	// A name cannot be a parameter of CREATE DATABASE; QUOTENAME makes it one identifier.
	_, err = master.ExecContext(ctx, `
		IF DB_ID(@name) IS NULL
		BEGIN
			DECLARE @create nvarchar(300) = N'CREATE DATABASE ' + QUOTENAME(@name);
			EXEC (@create);
		END`, sql.Named("name", s.config.Database))
	if err != nil && !isSQLServerError(err, sqlServerDatabaseExists) { // another replica was faster
		return fmt.Errorf("create database %s: %w", s.config.Database, err)
	}
	return nil
}

// appLock lets one process at a time migrate. The lock belongs to the session:
// SQL Server releases it when the process dies.
type appLock struct{}

func (appLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `
		DECLARE @result int;
		EXEC @result = sp_getapplock @Resource = N'microcomm migrations', @LockMode = 'Exclusive',
			@LockOwner = 'Session', @LockTimeout = 10000;
		IF @result < 0 THROW 50000, N'another process holds the migration lock', 1;`)
	if err != nil {
		return fmt.Errorf("lock migrations: %w", err)
	}
	return nil
}

func (appLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, `
		EXEC sp_releaseapplock @Resource = N'microcomm migrations', @LockOwner = 'Session';`)
	if err != nil {
		return fmt.Errorf("unlock migrations: %w", err)
	}
	return nil
}

func (s *sqlServerStore) platforms(ctx context.Context) ([]platform, error) {
	rows, err := s.db.QueryContext(ctx, `SELECT Id, Name, Publisher, Cost FROM dbo.Platforms ORDER BY Id`)
	if err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return scanPlatforms(rows)
}

func (s *sqlServerStore) platform(ctx context.Context, id int32) (platform, error) {
	row := s.db.QueryRowContext(ctx,
		`SELECT Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id = @id`, sql.Named("id", id))
	return scanPlatform(row, id)
}

func (s *sqlServerStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	created, err := s.create(ctx, p, "")
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	return created, nil
}

func (s *sqlServerStore) createPlatformOnce(ctx context.Context, key string, p platform) (created platform, replayed bool, err error) {
	created, err = s.replay(ctx, key, p)
	if !errors.Is(err, sql.ErrNoRows) {
		return created, err == nil, err
	}
	created, err = s.create(ctx, p, key)
	if isSQLServerError(err, sqlServerDuplicateKey, sqlServerDuplicateIndexKey) { // another replica was faster
		created, err = s.replay(ctx, key, p)
		return created, err == nil, err
	}
	if err != nil {
		return platform{}, false, fmt.Errorf("create platform: %w", err)
	}
	return created, false, nil
}

// replay returns p as it was created with key. The error is sql.ErrNoRows for a
// key that is not stored.
func (s *sqlServerStore) replay(ctx context.Context, key string, p platform) (platform, error) {
	var known []byte
	err := s.db.QueryRowContext(ctx, `SELECT Fingerprint, PlatformId FROM dbo.IdempotencyKeys WHERE IdempotencyKey = @key`,
		sql.Named("key", []byte(key))).Scan(&known, &p.ID)
	if err == nil {
		err = checkFingerprint(known, p)
	}
	if err != nil {
		return platform{}, fmt.Errorf("look up idempotency key: %w", err)
	}
	return p, nil
}

// create stores p, its event and the key, unless that is empty.
func (s *sqlServerStore) create(ctx context.Context, p platform, key string) (platform, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return platform{}, fmt.Errorf("begin: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	if p, err = insertSQLServer(ctx, tx, p); err != nil {
		return platform{}, err
	}
	if key != "" {
		_, err := tx.ExecContext(ctx, `INSERT INTO dbo.IdempotencyKeys (IdempotencyKey, Fingerprint, PlatformId) VALUES (@key, @fingerprint, @id)`,
			sql.Named("key", []byte(key)), sql.Named("fingerprint", fingerprint(p)), sql.Named("id", p.ID))
		if err != nil {
			return platform{}, err
		}
	}
	if err := tx.Commit(); err != nil {
		return platform{}, fmt.Errorf("commit: %w", err)
	}
	return p, nil
}

// insertSQLServer stores p and its event.
func insertSQLServer(ctx context.Context, tx *sql.Tx, p platform) (platform, error) {
	// Typed parameters: a Go string arrives as nvarchar, as the columns are, so no
	// text is lost to a code page. The driver has no LastInsertId; the statement
	// itself returns the new id.
	err := tx.QueryRowContext(ctx, `
		INSERT INTO dbo.Platforms (Name, Publisher, Cost) OUTPUT inserted.Id VALUES (@name, @publisher, @cost)`,
		sql.Named("name", p.Name), sql.Named("publisher", p.Publisher), sql.Named("cost", p.Cost)).Scan(&p.ID)
	if err != nil {
		return platform{}, err
	}
	event, err := newEvent(ctx, p)
	if err != nil {
		return platform{}, err
	}
	_, err = tx.ExecContext(ctx, `
		INSERT INTO dbo.Outbox (MessageId, Type, Body, TraceParent, TraceState) VALUES (@id, @type, @body, @traceparent, @tracestate)`,
		sql.Named("id", event.ID), sql.Named("type", event.Type), sql.Named("body", event.Body),
		sql.Named("traceparent", event.Headers["traceparent"]), sql.Named("tracestate", event.Headers["tracestate"]))
	return p, err
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

func (s *sqlServerStore) ping(ctx context.Context) error { return s.db.PingContext(ctx) }

func (s *sqlServerStore) close() error { return s.db.Close() }

// isSQLServerError tells whether one of numbers is among the errors that SQL
// Server answered. There can be several: a missing database is first a 4060 and
// then an 18456, login failed; the driver shows the last.
func isSQLServerError(err error, numbers ...int32) bool {
	var last mssql.Error
	if !errors.As(err, &last) {
		return false
	}
	for _, e := range append(last.All, last) {
		if slices.Contains(numbers, e.Number) {
			return true
		}
	}
	return false
}

// sqlServerUnavailable reports whether err is one that a later call may not get:
// the server is away, has chosen this transaction to end a deadlock, or is full.
func sqlServerUnavailable(err error) bool {
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) ||
		isSQLServerError(err, sqlServerDeadlock, sqlServerLockTimeout, sqlServerFilegroupFull, sqlServerLogFull, sqlServerShuttingDown)
}
