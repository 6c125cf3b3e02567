package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"microcomm/final/internal/outbox"
	"microcomm/final/internal/sqlite"
	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/web"
)

// errNotFound is returned for a platform that the store does not have.
var errNotFound = errors.New("not found")

// platformStore is what the service needs of a database. Any number of
// goroutines may use one. Every method can also return the driver's error,
// wrapped with what was being done.
type platformStore interface {
	// migrate creates the database if it is missing, and brings it to the newest
	// schema. Several processes may do so at the same time. It is called until
	// it succeeds, before anything else. It returns errForeignDatabase when the
	// database holds something else.
	migrate(ctx context.Context) error
	// platformsAfter returns platforms with greater ids than id, in id order, and
	// whether there are more: at most limit, and fewer when they reach MaxListText.
	platformsAfter(ctx context.Context, id int32, limit int) (platforms []platform, more bool, err error)
	// platform returns one platform, or errNotFound.
	platform(ctx context.Context, id int32) (platform, error)
	// createPlatform stores p under a new id, and returns it with that id. The
	// ID of p is ignored.
	createPlatform(ctx context.Context, p platform) (platform, error)
	// createPlatformOnce does the same, and stores the idempotency key with it. A
	// key that is stored already creates nothing: when it was used with an equal p
	// the platform is replayed as it was created then; otherwise the error is
	// ErrKeyReused.
	createPlatformOnce(ctx context.Context, key string, p platform) (created platform, replayed bool, err error)
	// createIfEmpty stores the platforms, all or none, if there is none yet. Of
	// several concurrent callers one stores them.
	createIfEmpty(ctx context.Context, platforms []platform) error
	// ping returns an error when the tables cannot be queried, or a file not be
	// written.
	ping(ctx context.Context) error
	// collectors returns the metrics of the connection pools, go_sql_*.
	collectors() []prometheus.Collector
	// close waits for running calls and closes the connections.
	close() error

	outbox.Store
}

// openStore returns the store that url names. It connects to nothing yet.
// sqliteSynchronous is FULL or NORMAL, for a SQLite file; see openSQLite.
//
//	sqlite::memory:      a database of this process alone, gone with it
//	sqlite:FILE          a SQLite file
//	sqlserver://USER:PASSWORD@HOST:1433?database=NAME
//	Server=HOST,1433;Initial Catalog=NAME;User Id=USER;Password=PASSWORD
//
// The last is an ADO.NET connection string. No error shows the url: it may hold
// a password.
func openStore(url, sqliteSynchronous string) (platformStore, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file, sqliteSynchronous)
	}
	if sqlserver.IsURL(url) {
		return openSQLServer(url)
	}
	return nil, errors.New("DATABASE_URL: neither sqlite:…, sqlserver://… nor Server=…;…")
}

// databaseUnavailable reports whether err means that the database is down, busy,
// full or read-only: the same call may succeed later.
func databaseUnavailable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || sqlite.Unavailable(err) || sqlserver.Unavailable(err)
}

// platformFingerprint is stored with an idempotency key.
func platformFingerprint(p platform) []byte { return web.Fingerprint(p.Name, p.Publisher, p.Cost) }

// scanPlatforms reads rows of id, name, publisher and cost, of which there are at
// most limit+1, as platformsAfter returns them, and closes them.
func scanPlatforms(rows *sql.Rows, limit int) (platforms []platform, more bool, err error) {
	defer rows.Close()
	for text := 0; rows.Next() && !more; {
		if more = len(platforms) == limit || text >= web.MaxListText; more {
			continue // one row further: usually the end, so that the driver has nothing to cancel
		}
		var p platform
		if err := rows.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost); err != nil {
			return nil, false, fmt.Errorf("list platforms: %w", err)
		}
		text += len(p.Name) + len(p.Publisher) + len(p.Cost)
		platforms = append(platforms, p)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("list platforms: %w", err)
	}
	return platforms, more, nil
}

// scanPlatform reads the row of the platform id, or returns errNotFound.
func scanPlatform(row *sql.Row, id int32) (platform, error) {
	var p platform
	err := row.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost)
	if errors.Is(err, sql.ErrNoRows) {
		return platform{}, errNotFound
	}
	if err != nil {
		return platform{}, fmt.Errorf("get platform %d: %w", id, err)
	}
	return p, nil
}
