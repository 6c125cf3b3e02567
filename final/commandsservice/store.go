package commandsservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

// errPlatformNotFound is returned for a platform that the store does not have.
var errPlatformNotFound = errors.New("platform not found")

// errCommandNotFound is returned for a command that the platform does not have.
var errCommandNotFound = errors.New("command not found")

// commandStore is what the service needs of a database. A platform is always
// named by its ExternalID. Any number of goroutines may use one. Every method
// can also return the driver's error, wrapped with what was being done.
type commandStore interface {
	// migrate creates the database if it is missing, and brings it to the newest
	// schema. Several processes may do so at the same time. It is called until
	// it succeeds, before anything else. It returns errForeignDatabase when the
	// database holds something else.
	migrate(ctx context.Context) error
	// platformsAfter returns platforms with greater ExternalIDs than externalID, in
	// their order, and whether there are more: at most limit, and fewer when they
	// reach MaxListText.
	platformsAfter(ctx context.Context, externalID int32, limit int) (platforms []platform, more bool, err error)
	// platform returns one platform, or errPlatformNotFound.
	platform(ctx context.Context, externalID int32) (platform, error)
	// addPlatform stores p and returns true; or, when a platform with its
	// ExternalID is known, leaves that one unchanged and returns false.
	addPlatform(ctx context.Context, p platform) (added bool, err error)
	// upsertPlatforms stores the platforms, all or none, and updates the names
	// of those that are known. Of several with one ExternalID the last counts. It
	// returns how many were new or had another name.
	upsertPlatforms(ctx context.Context, platforms []platform) (stored int, err error)
	// commandsAfter returns commands of a platform with greater ids than id, in
	// id order, and whether there are more, in the same way, or errPlatformNotFound.
	commandsAfter(ctx context.Context, platformID, id int32, limit int) (commands []command, more bool, err error)
	// command returns one command of a platform, errPlatformNotFound or errCommandNotFound.
	command(ctx context.Context, platformID, commandID int32) (command, error)
	// createCommand stores c under a new id and returns it with that id, or
	// errPlatformNotFound. The ID of c is ignored.
	createCommand(ctx context.Context, c command) (command, error)
	// createCommandOnce does the same, and stores the idempotency key with it. A
	// key that is stored already creates nothing: when it was used with an equal c
	// the command is replayed as it was created then; otherwise the error is
	// ErrKeyReused.
	createCommandOnce(ctx context.Context, key string, c command) (created command, replayed bool, err error)
	// ping returns an error when the tables cannot be queried, or a file not be
	// written.
	ping(ctx context.Context) error
	// collectors returns the metrics of the connection pools, go_sql_*.
	collectors() []prometheus.Collector
	// close waits for running calls and closes the connections.
	close() error
}

// openStore returns the store that url names. It connects to nothing yet.
//
//	sqlite::memory:      a database of this process alone, gone with it
//	sqlite:FILE          a SQLite file
//	sqlserver://USER:PASSWORD@HOST:1433?database=NAME
//	Server=HOST,1433;Initial Catalog=NAME;User Id=USER;Password=PASSWORD
//
// The last is an ADO.NET connection string. No error shows the url: it may hold
// a password.
func openStore(url string) (commandStore, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file)
	}
	if sqlserver.IsURL(url) {
		return openSQLServer(url)
	}
	return nil, errors.New("COMMANDS_DATABASE_URL: neither sqlite:…, sqlserver://… nor Server=…;…")
}

// databaseUnavailable reports whether err means that the database is down, busy,
// full or read-only: the same call may succeed later.
func databaseUnavailable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || sqlite.Unavailable(err) || sqlserver.Unavailable(err)
}

// maxPrunedKeys bounds how many old idempotency keys are deleted when a new one is
// stored.
const maxPrunedKeys = 100

// commandFingerprint is stored with an idempotency key.
func commandFingerprint(c command) []byte {
	return web.Fingerprint(strconv.Itoa(int(c.PlatformID)), c.HowTo, c.CommandLine)
}

// lastOfEach returns platforms without those that a later one with the same
// ExternalID replaces.
func lastOfEach(platforms []platform) []platform {
	last := make(map[int32]int, len(platforms))
	for i, p := range platforms {
		last[p.ExternalID] = i
	}
	if len(last) == len(platforms) {
		return platforms
	}
	kept := make([]platform, 0, len(last))
	for i, p := range platforms {
		if last[p.ExternalID] == i {
			kept = append(kept, p)
		}
	}
	return kept
}

// scanPlatforms reads rows of external id and name, of which there are at most
// limit+1, as platformsAfter returns them, and closes them.
func scanPlatforms(rows *sql.Rows, limit int) (platforms []platform, more bool, err error) {
	defer rows.Close()
	for text := 0; rows.Next() && !more; {
		if more = len(platforms) == limit || text >= web.MaxListText; more {
			continue // one row further: usually the end, so that the driver has nothing to cancel
		}
		var p platform
		if err := rows.Scan(&p.ExternalID, &p.Name); err != nil {
			return nil, false, fmt.Errorf("list platforms: %w", err)
		}
		text += len(p.Name)
		platforms = append(platforms, p)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return platforms, more, nil
}

// scanPlatform reads the row of a platform, its name, or returns errPlatformNotFound.
func scanPlatform(row *sql.Row, externalID int32) (platform, error) {
	p := platform{ExternalID: externalID}
	err := row.Scan(&p.Name)
	if errors.Is(err, sql.ErrNoRows) {
		return platform{}, errPlatformNotFound
	}
	if err != nil {
		return platform{}, fmt.Errorf("get platform %d: %w", externalID, err)
	}
	return p, nil
}

// scanCommands reads rows of id, how to and command line, of which there are at
// most limit+1, as commandsAfter returns them, and closes them.
func scanCommands(rows *sql.Rows, platformID int32, limit int) (commands []command, more bool, err error) {
	defer rows.Close()
	for text := 0; rows.Next() && !more; {
		if more = len(commands) == limit || text >= web.MaxListText; more {
			continue // one row further: usually the end, so that the driver has nothing to cancel
		}
		c := command{PlatformID: platformID}
		if err := rows.Scan(&c.ID, &c.HowTo, &c.CommandLine); err != nil {
			return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
		}
		text += len(c.HowTo) + len(c.CommandLine)
		commands = append(commands, c)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("list commands of platform %d: %w", platformID, err)
	}
	return commands, more, nil
}

// scanCommand reads the row of a command, its how to and command line, or
// returns errCommandNotFound.
func scanCommand(row *sql.Row, platformID, commandID int32) (command, error) {
	c := command{ID: commandID, PlatformID: platformID}
	err := row.Scan(&c.HowTo, &c.CommandLine)
	if errors.Is(err, sql.ErrNoRows) {
		return command{}, errCommandNotFound
	}
	if err != nil {
		return command{}, fmt.Errorf("get command %d of platform %d: %w", commandID, platformID, err)
	}
	return c, nil
}

// scanCreated reads the row of c's new id. Without a row, c's platform is not there:
// errPlatformNotFound.
func scanCreated(row *sql.Row, c command) (command, error) {
	err := row.Scan(&c.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return command{}, errPlatformNotFound
	}
	if err != nil {
		return command{}, fmt.Errorf("create command for platform %d: %w", c.PlatformID, err)
	}
	return c, nil
}
