package platformservice

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound is returned for a platform that the store does not have.
var ErrNotFound = errors.New("not found")

// Store is what the service needs of a database. Any number of goroutines may
// use one. Every method can also return the driver's error, wrapped with what
// was being done.
type Store interface {
	// Prepare creates what is missing. It is called before anything else.
	Prepare(ctx context.Context) error
	// Platforms returns all platforms in id order.
	Platforms(ctx context.Context) ([]Platform, error)
	// Platform returns one platform, or ErrNotFound.
	Platform(ctx context.Context, id int32) (Platform, error)
	// CreatePlatform stores p under a new id, and returns it with that id. The ID
	// that p comes with is ignored.
	CreatePlatform(ctx context.Context, p Platform) (Platform, error)
	// CreateIfEmpty stores the platforms, all or none, if there is none yet.
	// Of several callers at the same time one stores them.
	CreateIfEmpty(ctx context.Context, platforms []Platform) error
	// Ping returns an error when the database does not answer.
	Ping(ctx context.Context) error
	// Close waits for what is running and closes the connections.
	Close() error
}

// OpenStore returns the store that url names:
//
//	sqlite::memory:  a database of this process alone, gone with it
//	sqlite:FILE      a SQLite file
//
// No error shows the url, since some have a password in them.
func OpenStore(url string) (Store, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file)
	}
	return nil, errors.New("DATABASE_URL: neither sqlite:FILE nor sqlite::memory:")
}

// scanPlatforms reads all rows, id, name, publisher and cost each, and closes them.
func scanPlatforms(rows *sql.Rows) ([]Platform, error) {
	defer rows.Close()
	var platforms []Platform
	for rows.Next() {
		var p Platform
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

// scanPlatform reads the one row that was asked for by id, or returns ErrNotFound.
func scanPlatform(row *sql.Row, id int32) (Platform, error) {
	var p Platform
	err := row.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost)
	if errors.Is(err, sql.ErrNoRows) {
		return Platform{}, ErrNotFound
	}
	if err != nil {
		return Platform{}, fmt.Errorf("get platform %d: %w", id, err)
	}
	return p, nil
}
