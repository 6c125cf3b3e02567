package commandsservice

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

// sqlServerStore keeps platforms and commands in SQL Server.
type sqlServerStore struct {
	db *sqlserver.DB
}

func openSQLServer(url string) (*sqlServerStore, error) {
	db, err := sqlserver.Open(url)
	if err != nil {
		return nil, fmt.Errorf("COMMANDS_DATABASE_URL: %w", err)
	}
	return &sqlServerStore{db: db}, nil
}

// migrate knows the service's own table Platforms by its column: PlatformService has a
// table of that name too, in its own database.
func (s *sqlServerStore) migrate(ctx context.Context) error {
	err := s.db.Migrate(ctx, migrations, "ExternalId")
	if errors.Is(err, sqlserver.ErrForeign) {
		return errForeignDatabase
	}
	return err
}

func (s *sqlServerStore) platform(ctx context.Context, externalID int32) (found platform, err error) {
	err = s.db.Read(ctx, func() error {
		row := s.db.QueryRowContext(ctx, `SELECT Name FROM dbo.Platforms WHERE ExternalId = @id`, sql.Named("id", externalID))
		found, err = scanPlatform(row, externalID)
		return err
	})
	return found, err
}

// addPlatform locks the place of the ExternalId until the row is there, so that
// of several callers one inserts it. See upsertPlatforms for the hints.
func (s *sqlServerStore) addPlatform(ctx context.Context, p platform) (bool, error) {
	var count int64
	err := s.db.Write(func() error {
		result, err := s.db.ExecContext(ctx, `
			INSERT dbo.Platforms (ExternalId, Name)
			SELECT @id, @name
			WHERE NOT EXISTS (SELECT 1 FROM dbo.Platforms WITH (UPDLOCK, SERIALIZABLE) WHERE ExternalId = @id)`,
			sql.Named("id", p.ExternalID), sql.Named("name", mssql.NVarCharMax(p.Name)))
		if err != nil {
			return fmt.Errorf("add platform %d: %w", p.ExternalID, err)
		}
		count, err = result.RowsAffected()
		return err
	})
	return count == 1, err
}

// sqlServerUpsert is an UPDATE of what is there and an INSERT of what is not.
// MERGE in one statement is no safer: without hints it too lets two sessions
// insert the same key.
//
//   - It is one request, from BEGIN to COMMIT. With a request for each, a process that
//     is suspended between two would hold its locks, and stop every replica.
//   - The application lock lets one upsert at a time run, from whichever replica:
//     two that lock the same rows in another order would be a deadlock. It waits for
//     less than RequestTimeout, so that the error says why.
//     https://learn.microsoft.com/sql/relational-databases/system-stored-procedures/sp-getapplock-transact-sql
//   - UPDLOCK and SERIALIZABLE keep a row that is not there from being inserted
//     by others (addPlatform) between the look and the INSERT.
//     https://learn.microsoft.com/sql/t-sql/queries/hints-transact-sql-table
//   - The rows are one JSON parameter: the text of the statement, and so its
//     plan, is the same for any number of them.
//     https://learn.microsoft.com/sql/t-sql/functions/openjson-transact-sql
//   - Names are compared byte by byte. DATALENGTH, because = ignores blanks at the end.
//   - XACT_ABORT rolls back at every error, and when the client cancels.
const sqlServerUpsert = `
	SET NOCOUNT ON;
	SET XACT_ABORT ON;
	DECLARE @result int, @stored int;
	DECLARE @rows TABLE (ExternalId int NOT NULL PRIMARY KEY, Name nvarchar(max) NOT NULL);
	INSERT @rows (ExternalId, Name)
	SELECT ExternalId, Name FROM OPENJSON(@json) WITH (ExternalId int '$.id', Name nvarchar(max) '$.name');

	BEGIN TRANSACTION;
	EXEC @result = sp_getapplock @Resource = N'microcomm upsert', @LockMode = 'Exclusive',
		@LockOwner = 'Transaction', @LockTimeout = 5000;
	IF @result < 0
	BEGIN
		ROLLBACK TRANSACTION;
		RAISERROR (N'another upsert takes too long', 17, 1); -- severity 17: a later call may succeed
		RETURN;
	END;

	UPDATE p SET Name = r.Name
	FROM dbo.Platforms AS p WITH (UPDLOCK, SERIALIZABLE) JOIN @rows AS r ON r.ExternalId = p.ExternalId
	WHERE DATALENGTH(p.Name) <> DATALENGTH(r.Name) OR p.Name <> r.Name COLLATE Latin1_General_100_BIN2;
	SET @stored = @@ROWCOUNT;

	INSERT dbo.Platforms (ExternalId, Name)
	SELECT r.ExternalId, r.Name
	FROM @rows AS r
	WHERE NOT EXISTS (SELECT 1 FROM dbo.Platforms AS p WITH (UPDLOCK, SERIALIZABLE) WHERE p.ExternalId = r.ExternalId);
	SET @stored += @@ROWCOUNT;
	COMMIT TRANSACTION;
	SELECT @stored;`

// upsertPlatforms needs no more care when the connection is lost than addPlatform:
// to do it again changes nothing.
func (s *sqlServerStore) upsertPlatforms(ctx context.Context, platforms []platform) (stored int, err error) {
	rows, err := upsertJSON(lastOfEach(platforms))
	if err != nil {
		return 0, fmt.Errorf("upsert platforms: %w", err)
	}
	err = s.db.Write(func() error {
		return s.db.QueryRowContext(ctx, sqlServerUpsert, sql.Named("json", mssql.NVarCharMax(rows))).Scan(&stored)
	})
	if err != nil {
		return 0, fmt.Errorf("upsert platforms: %w", err)
	}
	return stored, nil
}

// upsertJSON returns the parameter of sqlServerUpsert.
func upsertJSON(platforms []platform) (string, error) {
	type row struct {
		ID   int32  `json:"id"`
		Name string `json:"name"`
	}
	rows := make([]row, 0, len(platforms))
	for _, p := range platforms {
		rows = append(rows, row{p.ExternalID, p.Name})
	}
	text, err := json.Marshal(rows)
	return string(text), err
}

func (s *sqlServerStore) command(ctx context.Context, platformID, commandID int32) (found command, err error) {
	if _, err := s.platform(ctx, platformID); err != nil {
		return command{}, err
	}
	err = s.db.Read(ctx, func() error {
		row := s.db.QueryRowContext(ctx, `
			SELECT c.HowTo, c.CommandLine
			FROM dbo.Commands AS c JOIN dbo.Platforms AS p ON p.Id = c.PlatformId
			WHERE p.ExternalId = @platform AND c.Id = @command`,
			sql.Named("platform", platformID), sql.Named("command", commandID))
		found, err = scanCommand(row, platformID, commandID)
		return err
	})
	return found, err
}

func (s *sqlServerStore) createCommand(ctx context.Context, c command) (command, error) {
	return s.create(ctx, c, "")
}

// create stores c and the key, unless that is empty. It does not retry when the
// connection is lost: the transaction may have been committed.
func (s *sqlServerStore) create(ctx context.Context, c command, key string) (created command, err error) {
	err = s.db.Write(func() error {
		created, err = s.createInTransaction(ctx, c, key)
		return err
	})
	return created, err
}

// createInTransaction is one attempt. A statement that commits on its own would not
// tell a commit that was not confirmed from one that was not tried.
func (s *sqlServerStore) createInTransaction(ctx context.Context, c command, key string) (command, error) {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return command{}, fmt.Errorf("create command: %w", err)
	}
	defer tx.Rollback() // does nothing after Commit
	// The statement inserts and returns the new id: the driver has no LastInsertId.
	row := tx.QueryRowContext(ctx, `
		INSERT dbo.Commands (HowTo, CommandLine, PlatformId) OUTPUT inserted.Id
		SELECT @howTo, @commandLine, Id FROM dbo.Platforms WHERE ExternalId = @platform`,
		sql.Named("howTo", mssql.NVarCharMax(c.HowTo)), sql.Named("commandLine", mssql.NVarCharMax(c.CommandLine)),
		sql.Named("platform", c.PlatformID))
	created, err := scanCreated(row, c)
	if err != nil {
		return command{}, err
	}
	if key != "" {
		_, err := tx.ExecContext(ctx, `INSERT INTO dbo.IdempotencyKeys (IdempotencyKey, Fingerprint, CommandId) VALUES (@key, @fingerprint, @id)`,
			sql.Named("key", []byte(key)), sql.Named("fingerprint", commandFingerprint(c)), sql.Named("id", created.ID))
		if err != nil {
			return command{}, fmt.Errorf("store idempotency key: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return command{}, fmt.Errorf("create command: %w", err)
	}
	return created, nil
}

// ping finds a database that does not respond, and one whose tables are gone.
func (s *sqlServerStore) ping(ctx context.Context) error {
	return s.db.Read(ctx, func() error {
		var some bool
		err := s.db.QueryRowContext(ctx, `SELECT CAST(IIF(EXISTS (SELECT 1 FROM dbo.Platforms), 1, 0) AS bit)`).Scan(&some)
		if err != nil {
			return fmt.Errorf("query platforms: %w", err)
		}
		return nil
	})
}

func (s *sqlServerStore) collectors() []prometheus.Collector {
	return []prometheus.Collector{collectors.NewDBStatsCollector(s.db.DB, "commands")}
}

func (s *sqlServerStore) close() error { return s.db.Close() }

func (s *sqlServerStore) platformsAfter(ctx context.Context, externalID int32, limit int) (platforms []platform, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx,
			`SELECT TOP (@limit) ExternalId, Name FROM dbo.Platforms WHERE ExternalId > @id ORDER BY ExternalId`,
			sql.Named("limit", limit+1), sql.Named("id", externalID))
		if err != nil {
			return fmt.Errorf("list platforms: %w", err)
		}
		platforms, more, err = scanPlatforms(rows, limit)
		return err
	})
	return platforms, more, err
}

func (s *sqlServerStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) (commands []command, more bool, err error) {
	err = s.db.Read(ctx, func() error {
		rows, err := s.db.QueryContext(ctx, `
			SELECT TOP (@limit) c.Id, c.HowTo, c.CommandLine
			FROM dbo.Commands AS c JOIN dbo.Platforms AS p ON p.Id = c.PlatformId
			WHERE p.ExternalId = @platform AND c.Id > @id ORDER BY c.Id`,
			sql.Named("limit", limit+1), sql.Named("platform", platformID), sql.Named("id", id))
		if err != nil {
			return fmt.Errorf("list commands of platform %d: %w", platformID, err)
		}
		commands, more, err = scanCommands(rows, platformID, limit)
		return err
	})
	if err == nil && len(commands) == 0 {
		_, err = s.platform(ctx, platformID) // none, or no such platform
	}
	return commands, more, err
}

func (s *sqlServerStore) createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error) {
	if err := s.pruneKeys(ctx); err != nil {
		return command{}, false, err
	}
	created, err = s.replay(ctx, key, c)
	if !errors.Is(err, sql.ErrNoRows) {
		return created, err == nil, err
	}
	created, err = s.create(ctx, c, key)
	if sqlserver.Duplicate(err) { // another replica was faster
		created, err = s.replay(ctx, key, c)
		return created, err == nil, err
	}
	if err != nil {
		return command{}, false, err
	}
	return created, false, nil
}

// replay returns c as it was created with key. The error is sql.ErrNoRows for a
// key that is not stored.
func (s *sqlServerStore) replay(ctx context.Context, key string, c command) (command, error) {
	var known []byte
	err := s.db.Read(ctx, func() error {
		return s.db.QueryRowContext(ctx, `SELECT Fingerprint, CommandId FROM dbo.IdempotencyKeys WHERE IdempotencyKey = @key`,
			sql.Named("key", []byte(key))).Scan(&known, &c.ID)
	})
	if err == nil {
		err = web.CheckFingerprint(known, commandFingerprint(c))
	}
	if err != nil {
		return command{}, fmt.Errorf("look up idempotency key: %w", err)
	}
	return c, nil
}

// pruneKeys deletes some keys that are older than IdempotencyRetention.
func (s *sqlServerStore) pruneKeys(ctx context.Context) error {
	return s.db.Write(func() error {
		_, err := s.db.ExecContext(ctx, `
			DELETE TOP (@limit) FROM dbo.IdempotencyKeys WHERE CreatedAt < DATEADD(second, -@seconds, SYSUTCDATETIME())`,
			sql.Named("limit", maxPrunedKeys), sql.Named("seconds", int(web.IdempotencyRetention.Seconds())))
		if err != nil {
			return fmt.Errorf("prune idempotency keys: %w", err)
		}
		return nil
	})
}
