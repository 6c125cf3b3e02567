package main

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	_ "github.com/microsoft/go-mssqldb" // the driver "sqlserver"
)

// sqlServerDatabase is a new database on a real SQL Server.
type sqlServerDatabase struct {
	given *url.URL // with the database
	name  string
	admin *sql.DB

	logins []string // to drop in the end
}

// createSQLServerDatabase creates a database on the server at given, a sqlserver:// URL.
func createSQLServerDatabase(ctx context.Context, given string) (*sqlServerDatabase, error) {
	u, err := url.Parse(given)
	if err != nil || u.Scheme != "sqlserver" {
		return nil, fmt.Errorf("SQLSERVER_URL is not of the form sqlserver://USER:PASSWORD@HOST:1433")
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "1433")
	}
	s := &sqlServerDatabase{given: u, name: fmt.Sprintf("microcomm drill %x", rand.Uint64())}
	s.setDatabase("master")
	if s.admin, err = sql.Open("sqlserver", u.String()); err != nil {
		return nil, fmt.Errorf("open SQL Server: %w", err)
	}
	s.setDatabase(s.name)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	// A service creates it like this.
	if _, err := s.admin.ExecContext(ctx, "CREATE DATABASE ["+s.name+"]; ALTER DATABASE ["+s.name+"] SET READ_COMMITTED_SNAPSHOT ON"); err != nil {
		s.admin.Close()
		return nil, fmt.Errorf("create a database: %w", err)
	}
	return s, nil
}

func (s *sqlServerDatabase) setDatabase(name string) {
	query := s.given.Query()
	query.Set("database", name)
	s.given.RawQuery = query.Encode()
}

// createLogin creates a login with the rights that login.sql gives a service. Name and
// password must contain neither a quote nor a bracket.
func (s *sqlServerDatabase) createLogin(ctx context.Context, name, password string) error {
	err := s.exec(ctx, "CREATE LOGIN ["+name+"] WITH PASSWORD = N'"+password+"'")
	if err != nil {
		return fmt.Errorf("create a login: %w", err)
	}
	s.logins = append(s.logins, name)
	for _, statement := range []string{
		"CREATE USER [" + name + "] FOR LOGIN [" + name + "]",
		"ALTER ROLE db_datareader ADD MEMBER [" + name + "]",
		"ALTER ROLE db_datawriter ADD MEMBER [" + name + "]",
		"ALTER ROLE db_ddladmin ADD MEMBER [" + name + "]",
	} {
		if err := s.exec(ctx, s.inside(statement)); err != nil {
			return fmt.Errorf("give a login its rights: %w", err)
		}
	}
	return nil
}

// dropLogin removes a login. SQL Server refuses to while it is in use.
func (s *sqlServerDatabase) dropLogin(ctx context.Context, name string) error {
	s.logins = slices.DeleteFunc(s.logins, func(login string) bool { return login == name })
	if err := s.exec(ctx, "DROP LOGIN ["+name+"]"); err != nil {
		return fmt.Errorf("drop a login: %w", err)
	}
	return s.exec(ctx, s.inside("DROP USER ["+name+"]"))
}

// exec executes statements as the administrator.
func (s *sqlServerDatabase) exec(ctx context.Context, statements string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	_, err := s.admin.ExecContext(ctx, statements)
	return err
}

// inside is a statement that executes another in the database, whichever one is current.
func (s *sqlServerDatabase) inside(statement string) string {
	return "EXECUTE [" + s.name + "].sys.sp_executesql N'" + statement + "'"
}

func (s *sqlServerDatabase) url(address string) string { return withHost(s.given.String(), address) }
func (s *sqlServerDatabase) address() string           { return s.given.Host }

func (s *sqlServerDatabase) close() error {
	defer s.admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	_, err := s.admin.ExecContext(ctx, "ALTER DATABASE ["+s.name+"] SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE ["+s.name+"]")
	if err != nil {
		return fmt.Errorf("drop the drill's database: %w", err)
	}
	for _, login := range s.logins {
		if err := s.exec(ctx, "DROP LOGIN ["+login+"]"); err != nil {
			return fmt.Errorf("drop the drill's login: %w", err)
		}
	}
	return nil
}

// deadlock locks the tables in the opposite order to PlatformService, again and again,
// with a priority that makes PlatformService the victim.
func (s *sqlServerDatabase) deadlock(ctx context.Context) (stop func() error, err error) {
	db, err := sql.Open("sqlserver", s.given.String())
	if err != nil {
		return nil, fmt.Errorf("open SQL Server: %w", err)
	}
	ctx, end := context.WithCancel(ctx)
	var loop sync.WaitGroup
	var last error
	loop.Go(func() {
		for ctx.Err() == nil {
			if err := s.deadlockOnce(ctx, db); err != nil && ctx.Err() == nil {
				last = err
			}
		}
	})
	return func() error {
		end()
		loop.Wait()
		db.Close()
		return last
	}, nil
}

func (s *sqlServerDatabase) deadlockOnce(ctx context.Context, db *sql.DB) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a deadlock: %w", err)
	}
	defer tx.Rollback()
	for _, step := range []string{
		`SET DEADLOCK_PRIORITY HIGH`,
		`SELECT COUNT(*) FROM dbo.Outbox WITH (TABLOCKX, HOLDLOCK)`,
		// Until a POST that has inserted its platform waits for us.
		`WHILE NOT EXISTS (SELECT 1 FROM sys.dm_tran_locks WHERE resource_database_id = DB_ID()
			AND request_status = 'WAIT' AND resource_associated_entity_id = OBJECT_ID(N'dbo.Outbox')) WAITFOR DELAY '00:00:00.020'`,
		`SELECT COUNT(*) FROM dbo.Platforms WITH (TABLOCKX, HOLDLOCK)`,
	} {
		if _, err := tx.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("make a deadlock: %w", err)
		}
	}
	return nil
}
