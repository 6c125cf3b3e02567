// Package sqlserver opens SQL Server databases as every service needs them:
// created if missing, with calls that end with their context, a bounded pool, and
// errors that say whether a retry may help.
package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/microsoft/go-mssqldb/msdsn"
	"github.com/pressly/goose/v3"

	"microcomm/final/internal/migrate"
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
	databaseExists     = 1801
	cannotOpenDatabase = 4060 // it is missing, or this login has no access
	duplicateKey       = 2627 // of a constraint
	duplicateIndexKey  = 2601
	shutdownInProgress = 6005
)

// DB is a database on a SQL Server.
type DB struct {
	*sql.DB
	config msdsn.Config
}

// IsURL reports whether url is a sqlserver:// URL or an ADO.NET connection
// string: one that names a server, under any of the keys for it.
func IsURL(url string) bool {
	if strings.HasPrefix(url, "sqlserver://") {
		return true
	}
	firstKey, _, found := strings.Cut(url, "=")
	if !found || strings.Contains(firstKey, ":") {
		return false // no key has a colon: it is some other URL
	}
	config, _ := msdsn.Parse(url) // its error is that of Open
	_, ok := config.Parameters[msdsn.Server]
	return ok
}

// Parse reads url as Open does. The error does not show it: it may hold a password.
func Parse(url string) (msdsn.Config, error) {
	config, err := msdsn.Parse(url)
	if err != nil {
		return config, errors.New("not a SQL Server URL or connection string that can be read; a certificate in it has to be a .pem file")
	}
	if strings.Contains(config.Host+config.Database+config.User, "=") { // with a password in it, which errors would show
		return config, errors.New("a semicolon is missing in the SQL Server connection string")
	}
	if config.Parameters[msdsn.Certificate] != "" && (config.TLSConfig == nil || config.TLSConfig.InsecureSkipVerify) {
		return config, errors.New("the CA of the SQL Server (certificate=…) would not be used: add encrypt=true, and no TrustServerCertificate")
	}
	if config.Database == "" {
		return config, errors.New("the SQL Server database is not named (database=… or Initial Catalog=…)")
	}
	return config, nil
}

// Open returns the database that url names. It connects to nothing yet. The
// error does not show the url, which may hold a password.
func Open(url string) (*DB, error) {
	config, err := Parse(url)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(newConnector(config))
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(maxIdleTime)
	return &DB{DB: db, config: config}, nil
}

// Create creates the database if it is missing. It does so through master,
// which needs a login that may. A login that may not finds a database that was
// created for it.
func (db *DB) Create(ctx context.Context) error {
	err := db.PingContext(ctx)
	if err == nil {
		return nil
	}
	if !isError(err, cannotOpenDatabase) {
		return fmt.Errorf("database %s: %w", db.config.Database, err)
	}
	config := db.config
	config.Database = "master"
	master := sql.OpenDB(newConnector(config))
	defer master.Close()
	// A name cannot be a parameter of these statements; QUOTENAME makes it one
	// identifier. With READ_COMMITTED_SNAPSHOT a query reads the rows as they were last
	// committed. Without it, a process that is suspended in the middle of a transaction
	// keeps every reader of its rows waiting, the relays of other replicas among them.
	// https://learn.microsoft.com/sql/t-sql/statements/alter-database-transact-sql-set-options#read_committed_snapshot--on--off-
	_, err = master.ExecContext(ctx, `
		IF DB_ID(@name) IS NULL
		BEGIN
			DECLARE @statement nvarchar(400) = N'CREATE DATABASE ' + QUOTENAME(@name);
			EXEC (@statement);
			-- WITH ROLLBACK IMMEDIATE, or it waits for a replica that has connected meanwhile.
			SET @statement = N'ALTER DATABASE ' + QUOTENAME(@name)
				+ N' SET READ_COMMITTED_SNAPSHOT ON WITH ROLLBACK IMMEDIATE';
			EXEC (@statement);
		END`, sql.Named("name", db.config.Database))
	if err != nil && !isError(err, databaseExists) { // another replica has created it
		return fmt.Errorf("create database %s: %w", db.config.Database, err)
	}
	return nil
}

// ErrForeign is returned by Migrate for the database of another service.
var ErrForeign = errors.New("the database belongs to another service")

// Migrate creates the database if it is missing, and applies what is new in the
// folder migrations/sqlserver. A table Platforms without that column is another
// service's: then Migrate returns ErrForeign.
func (db *DB) Migrate(ctx context.Context, migrations fs.FS, column string) error {
	if err := db.Create(ctx); err != nil {
		return err
	}
	if err := db.checkOwner(ctx, column); err != nil {
		return err
	}
	if err := migrate.Up(ctx, db.DB, goose.DialectMSSQL, migrations, "migrations/sqlserver", goose.WithSessionLocker(migrationLock{})); err != nil {
		return err
	}
	return db.checkOwner(ctx, column) // another service may have been the first to migrate it
}

// checkOwner returns ErrForeign when there is a table Platforms without column.
func (db *DB) checkOwner(ctx context.Context, column string) error {
	var foreign bool
	err := db.QueryRowContext(ctx, `SELECT CAST(IIF(OBJECT_ID(N'dbo.Platforms') IS NOT NULL
		AND COL_LENGTH(N'dbo.Platforms', @column) IS NULL, 1, 0) AS bit)`, sql.Named("column", column)).Scan(&foreign)
	if err != nil {
		return fmt.Errorf("look for another service's tables: %w", err)
	}
	if foreign {
		return ErrForeign
	}
	return nil
}

// migrationLock lets one process at a time migrate: it is goose's SessionLocker.
// The lock belongs to the session: SQL Server releases it when the process dies.
type migrationLock struct{}

// SessionLock waits 10 s for the lock.
func (migrationLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
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
func (migrationLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, unlockTimeout)
	defer cancel()
	_, err := conn.ExecContext(ctx, `
		EXEC sp_releaseapplock @Resource = N'microcomm migrations', @LockOwner = 'Session';`)
	if err != nil {
		return fmt.Errorf("unlock migrations: %w", err)
	}
	return nil
}

// Read calls do, which changes nothing in the database, and once more if it
// loses its connection. database/sql retries only what it could not send.
func (db *DB) Read(ctx context.Context, do func() error) error {
	err := db.Write(do)
	if errors.Is(err, errConnectionLost) && ctx.Err() == nil {
		err = do()
	}
	return err
}

// Write calls do once: what lost its connection may have been stored. Then it
// closes the idle connections: after a restart of the server they are all dead.
func (db *DB) Write(do func() error) error {
	err := do()
	if errors.Is(err, errConnectionLost) {
		db.SetMaxIdleConns(0)
		db.SetMaxIdleConns(maxConnections)
	}
	return err
}

// Duplicate reports whether a key or a unique index has refused a row.
func Duplicate(err error) bool { return isError(err, duplicateKey, duplicateIndexKey) }

// isError reports whether err has one of numbers. SQL Server can send several
// errors for one request: for a missing database it sends 4060 and then 18456,
// login failed. The driver shows the last.
func isError(err error, numbers ...int32) bool {
	return slices.ContainsFunc(sentErrors(err), func(e mssql.Error) bool {
		return slices.Contains(numbers, e.Number)
	})
}

// sentErrors returns the errors that SQL Server sent.
func sentErrors(err error) []mssql.Error {
	var last mssql.Error
	if !errors.As(err, &last) {
		return nil
	}
	return append(last.All, last)
}

// Unavailable reports whether err means that the database cannot serve now, and
// that the same request may succeed later. A login that fails is among these:
// after the start, the settings are known to be right.
func Unavailable(err error) bool {
	if errors.Is(err, errNoConnection) || errors.Is(err, errConnectionLost) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	// From severity 17 on the request is not at fault: out of memory, locks or
	// disk space (701, 1101, 1105, 1204, 8645, 9002 and others), or worse. See
	// https://learn.microsoft.com/sql/relational-databases/errors-events/database-engine-error-severities
	isSevere := func(e mssql.Error) bool { return e.Class >= 17 }
	return slices.ContainsFunc(sentErrors(err), isSevere) || isError(err,
		1205, // deadlock victim
		1222, // lock request timed out
		3960, // update conflict under snapshot isolation
		shutdownInProgress,
		// Azure SQL is busy. From the errors that .NET retries:
		// https://learn.microsoft.com/dotnet/api/microsoft.data.sqlclient.sqlconfigurableretryfactory.baselinetransienterrors
		10928, 10929, 40501, 49918, 49919, 49920) || movedByAzure(err)
}

// movedByAzure reports whether Azure SQL ended the session because the database
// moves to another node.
// https://learn.microsoft.com/azure/azure-sql/database/troubleshoot-common-errors-issues
func movedByAzure(err error) bool { return isError(err, 40143, 40197, 40540, 40613) }

// refused reports whether err says that SQL Server has not committed: it sent an
// error, and not one that ends the session, which may come after the commit. From
// severity 20 on an error does; see the page on severities in Unavailable.
func refused(err error) bool {
	endsSession := func(e mssql.Error) bool { return e.Class >= 20 }
	sent := sentErrors(err)
	return len(sent) > 0 && !slices.ContainsFunc(sent, endsSession) &&
		!isError(err, shutdownInProgress) && !movedByAzure(err)
}
