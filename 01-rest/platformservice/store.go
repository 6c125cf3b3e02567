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

// platformStore is what the service needs of a database. Any number of goroutines may
// use one. Every method can also return the driver's error, wrapped with what
// was being done.
type platformStore interface {
	// Prepare creates what is missing. It is called before anything else.
	migrate(ctx context.Context) error
	// Platforms returns all platforms in id order.
	platforms(ctx context.Context) ([]platform, error)
	// platform returns one platform, or errNotFound.
	platform(ctx context.Context, id int32) (platform, error)
	// CreatePlatform stores p under a new id, and returns it with that id. The ID
	// that p comes with is ignored.
	createPlatform(ctx context.Context, p platform) (platform, error)
	// CreateIfEmpty stores the platforms, all or none, if there is none yet.
	// Of several callers at the same time one stores them.
	createIfEmpty(ctx context.Context, platforms []platform) error
	// Close waits for what is running and closes the connections.
	close() error
}

// openStore returns the store that url names:
//
//	sqlite::memory:  a database of this process alone, gone with it
//	sqlite:FILE      a SQLite file
//
// No error shows the url, since some have a password in them.
func openStore(url string) (platformStore, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file)
	}
	return nil, errors.New("DATABASE_URL: neither sqlite:FILE nor sqlite::memory:")
}

// scanPlatforms reads all rows, id, name, publisher and cost each, and closes them.
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

// scanPlatform reads the one row that was asked for by id, or returns errNotFound.
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
