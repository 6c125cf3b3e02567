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

// errDuplicate is returned when the database refuses a second row with the
// same key, as it does after somebody has set its id counter back.
var errDuplicate = errors.New("duplicate")

// platformStore is what the service needs of a database. Any number of goroutines may
// use one. Every method can also return the driver's error, wrapped with what
// was being done.
type platformStore interface {
	// Prepare makes the database ready: it is created when missing, and brought
	// to the newest schema. Several processes may do so at the same time. It is
	// called until it succeeds, before anything else.
	migrate(ctx context.Context) error
	// Platforms returns all platforms in id order.
	platforms(ctx context.Context) ([]platform, error)
	// platform returns one platform, or errNotFound.
	platform(ctx context.Context, id int32) (platform, error)
	// CreatePlatform stores p under a new id, and returns it with that id;
	// or errDuplicate. The ID that p comes with is ignored.
	createPlatform(ctx context.Context, p platform) (platform, error)
	// CreateIfEmpty stores the platforms, all or none, if there is none yet.
	// Of several callers at the same time one stores them.
	createIfEmpty(ctx context.Context, platforms []platform) error
	// Ping returns an error when the database does not answer.
	ping(ctx context.Context) error
	// Close waits for what is running and closes the connections.
	close() error
}

// openStore returns the store that url names, connected to nothing yet:
//
//	sqlite::memory:      a database of this process alone, gone with it
//	sqlite:FILE          a SQLite file
//	sqlserver://USER:PASSWORD@HOST:1433?database=NAME
//	Server=HOST,1433;Initial Catalog=NAME;User Id=USER;Password=PASSWORD
//
// The last is the form of an ADO.NET connection string. No error shows the url,
// since it may hold a password.
func openStore(url string) (platformStore, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file)
	}
	if isSQLServer(url) {
		return openSQLServer(url)
	}
	return nil, fmt.Errorf("DATABASE_URL: neither sqlite:…, sqlserver://… nor Server=…;…")
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
