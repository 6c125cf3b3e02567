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
	// migrate creates the tables that are missing. It is called before anything
	// else.
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
	// close waits for running calls and closes the connections.
	close() error
}

// openStore returns the store that address names:
//
//	sqlite::memory:  a database of this process alone, gone with it
//	sqlite:FILE      a SQLite file
func openStore(address string) (platformStore, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(file)
	}
	return nil, errors.New("neither sqlite:FILE nor sqlite::memory:")
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
