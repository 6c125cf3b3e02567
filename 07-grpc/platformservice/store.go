package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// errNotFound is returned for a platform that the store does not have.
var errNotFound = errors.New("not found")

// platformStore is what the service needs of a database. Any number of
// goroutines may use one. Every method can also return the driver's error,
// wrapped with what was being done.
type platformStore interface {
	// migrate creates the database if it is missing, and brings it to the newest
	// schema. Several processes may do so at the same time. It is called until
	// it succeeds, before anything else.
	migrate(ctx context.Context) error
	// platforms returns all platforms in id order.
	platforms(ctx context.Context) ([]platform, error)
	// platform returns one platform, or errNotFound.
	platform(ctx context.Context, id int32) (platform, error)
	// createPlatform stores p under a new id, and returns it with that id. The
	// ID of p is ignored.
	createPlatform(ctx context.Context, p platform) (platform, error)
	// createIfEmpty stores the platforms, all or none, if there is none yet. Of
	// several concurrent callers one stores them.
	createIfEmpty(ctx context.Context, platforms []platform) error
	// ping returns an error when the tables cannot be queried.
	ping(ctx context.Context) error
	// close waits for running calls and closes the connections.
	close() error
}

// openStore returns the store that address names. It connects to nothing yet.
//
//	sqlite::memory:      a database of this process alone, gone with it
//	sqlite:FILE          a SQLite file
//	sqlserver://USER:PASSWORD@HOST:1433?database=NAME
//	Server=HOST,1433;Initial Catalog=NAME;User Id=USER;Password=PASSWORD
//
// The last is an ADO.NET connection string. No error shows the address: it may
// hold a password.
func openStore(address string) (platformStore, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(file)
	}
	if isSQLServer(address) {
		return openSQLServer(address)
	}
	return nil, errors.New("neither sqlite:…, sqlserver://… nor Server=…;…")
}

// databaseUnavailable reports whether err means that the database is down, busy
// or full: the same call may succeed later.
func databaseUnavailable(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || sqliteUnavailable(err) || sqlServerUnavailable(err)
}

// scanPlatforms reads rows of id, name, publisher and cost to the end, and
// closes them.
func scanPlatforms(rows *sql.Rows) ([]platform, error) {
	defer rows.Close()
	var platforms []platform
	for rows.Next() {
		var p platform
		if err := rows.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost); err != nil {
			return nil, fmt.Errorf("list platforms: %w", err)
		}
		platforms = append(platforms, p)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list platforms: %w", err)
	}
	return platforms, nil
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
