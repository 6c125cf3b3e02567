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

// maxConnections is how many connections are opened, and kept while idle. By
// default database/sql keeps two: under load it would close the others after
// each request and log in again, which takes far longer than the request.
const maxConnections = 32

// maxIdleTime is how long an idle connection is kept.
const maxIdleTime = 5 * time.Minute

// unlockTimeout bounds the release of the migration lock. After that the
// connection is closed, and SQL Server releases the lock itself.
const unlockTimeout = 2 * time.Second

// Error numbers of SQL Server, from
// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-events-and-errors
const (
	sqlServerDatabaseExists     = 1801
	sqlServerCannotOpenDatabase = 4060 // it is missing, or this login has no access
	sqlServerLoginFailed        = 18456
)

// sqlServerStore keeps platforms in SQL Server.
type sqlServerStore struct {
	db     *sql.DB
	config msdsn.Config
}

// isSQLServer reports whether address is a sqlserver:// URL or an ADO.NET connection
// string: one that names a server, under any of the keys for it.
func isSQLServer(address string) bool {
	if strings.HasPrefix(address, "sqlserver://") {
		return true
	}
	firstKey, _, found := strings.Cut(address, "=")
	if !found || strings.Contains(firstKey, ":") {
		return false // no key has a colon: it is some other URL
	}
	config, _ := msdsn.Parse(address) // its error is that of openSQLServer
	_, ok := config.Parameters[msdsn.Server]
	return ok
}

func openSQLServer(address string) (*sqlServerStore, error) {
	config, err := msdsn.Parse(address)
	if err != nil {
		return nil, errors.New("not a SQL Server URL or connection string that can be read")
	}
	if strings.Contains(config.Host+config.Database+config.User, "=") { // with a password in it, which errors would show
		return nil, errors.New("a semicolon is missing in the connection string")
	}
	if config.Database == "" {
		return nil, errors.New("the SQL Server database is not named (database=… or Initial Catalog=…)")
	}
	db := sql.OpenDB(mssql.NewConnectorConfig(config))
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(maxIdleTime)
	return &sqlServerStore{db: db, config: config}, nil
}

func (s *sqlServerStore) migrate(ctx context.Context) error {
	if err := s.createDatabase(ctx); err != nil {
		return err
	}
	return runMigrations(ctx, s.db, goose.DialectMSSQL, "migrations/sqlserver", goose.WithSessionLocker(appLock{}))
}

// createDatabase creates the database if it is missing. It does so through
// master, which needs a login that may. A login that may not finds a database
// that was created for it.
func (s *sqlServerStore) createDatabase(ctx context.Context) error {
	err := s.db.PingContext(ctx)
	if err == nil {
		return nil
	}
	if !isSQLServerError(err, sqlServerCannotOpenDatabase) {
		return fmt.Errorf("database %s: %w", s.config.Database, err)
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
	if err != nil && !isSQLServerError(err, sqlServerDatabaseExists) { // another replica has created it
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

// SessionUnlock gets a context without a deadline from goose.
func (appLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
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

func (s *sqlServerStore) ping(ctx context.Context) error {
	var found bool
	err := s.db.QueryRowContext(ctx,
		`SELECT CAST(CASE WHEN EXISTS (SELECT 1 FROM dbo.Platforms) THEN 1 ELSE 0 END AS bit)`).Scan(&found)
	if err != nil {
		return fmt.Errorf("query platforms: %w", err)
	}
	return nil
}

// sqlServerInsert has typed parameters: a Go string arrives as nvarchar, as the
// columns are, so no text is lost to a code page. The driver has no
// LastInsertId; the statement itself returns the new id.
const sqlServerInsert = `
	INSERT INTO dbo.Platforms (Name, Publisher, Cost) OUTPUT inserted.Id VALUES (@name, @publisher, @cost)`

func sqlServerValues(p platform) []any {
	return []any{sql.Named("name", p.Name), sql.Named("publisher", p.Publisher), sql.Named("cost", p.Cost)}
}

func (s *sqlServerStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	rows, err := s.db.QueryContext(ctx, sqlServerInsert, sqlServerValues(p)...)
	if err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	defer rows.Close()
	// The id arrives before the row is committed. So it is not enough: the end of
	// the rows says that the statement succeeded.
	for rows.Next() {
		if err := rows.Scan(&p.ID); err != nil {
			return platform{}, fmt.Errorf("create platform: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return platform{}, fmt.Errorf("create platform: %w", err)
	}
	return p, nil
}

func (s *sqlServerStore) createIfEmpty(ctx context.Context, platforms []platform) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("create if empty: %w", err)
		}
	}()
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	var count int
	// The locks are held to the end of the transaction: no other transaction inserts meanwhile.
	err = tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM dbo.Platforms WITH (TABLOCKX, HOLDLOCK)`).Scan(&count)
	if err != nil {
		return err
	}
	if count > 0 {
		return nil
	}
	for _, p := range platforms {
		if _, err := tx.ExecContext(ctx, sqlServerInsert, sqlServerValues(p)...); err != nil {
			return err
		}
	}
	return tx.Commit()
}

func (s *sqlServerStore) close() error { return s.db.Close() }

// isSQLServerError reports whether err has one of numbers. SQL Server can send
// several errors for one request: for a missing database it sends 4060 and then
// 18456, login failed. The driver shows the last.
func isSQLServerError(err error, numbers ...int32) bool {
	return slices.ContainsFunc(sqlServerErrors(err), func(e mssql.Error) bool {
		return slices.Contains(numbers, e.Number)
	})
}

// sqlServerErrors returns the errors that SQL Server sent.
func sqlServerErrors(err error) []mssql.Error {
	var last mssql.Error
	if !errors.As(err, &last) {
		return nil
	}
	return append(last.All, last)
}

// sqlServerUnavailable reports whether err means that the database cannot serve now, and
// that the same request may succeed later. That there is no connection is among
// these, and so is a login that fails: after the start, the settings are known to
// be right.
func sqlServerUnavailable(err error) bool {
	var network net.Error
	if errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, driver.ErrBadConn) {
		return true
	}
	// From severity 17 on the request is not at fault: out of memory, locks or
	// disk space (701, 1101, 1105, 1204, 8645, 9002 and others), or worse. See
	// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-error-severities
	isSevere := func(e mssql.Error) bool { return e.Class >= 17 }
	return slices.ContainsFunc(sqlServerErrors(err), isSevere) || isSQLServerError(err,
		sqlServerCannotOpenDatabase, sqlServerLoginFailed,
		1205, // deadlock victim
		1222, // lock request timed out
		3960, // update conflict under snapshot isolation
		6005, // shutdown in progress
		// Azure SQL is busy or moves the database. From the errors that .NET retries:
		// https://learn.microsoft.com/dotnet/api/microsoft.data.sqlclient.sqlconfigurableretryfactory.baselinetransienterrors
		10928, 10929, 40143, 40197, 40501, 40540, 40613, 49918, 49919, 49920)
}
