package commandsservice

import (
	"context"
	"errors"
	"strings"
)

// errPlatformNotFound is returned for a platform that the store does not have.
var errPlatformNotFound = errors.New("platform not found")

// errCommandNotFound is returned for a command that the platform does not have.
var errCommandNotFound = errors.New("command not found")

// commandStore is what the service needs of a database. A platform is always
// named by its ExternalID. Any number of goroutines may use one. Every method
// can also return the driver's error, wrapped with what was being done.
type commandStore interface {
	// migrate creates the tables that are missing. It is called before anything
	// else.
	migrate(ctx context.Context) error
	// platforms returns all platforms in ExternalID order.
	platforms(ctx context.Context) ([]platform, error)
	// platform returns one platform, or errPlatformNotFound.
	platform(ctx context.Context, externalID int32) (platform, error)
	// addPlatform stores p and returns true; or, when a platform with its
	// ExternalID is known, leaves that one unchanged and returns false.
	addPlatform(ctx context.Context, p platform) (added bool, err error)
	// commands returns the commands of a platform in id order, or errPlatformNotFound.
	commands(ctx context.Context, platformID int32) ([]command, error)
	// command returns one command of a platform, errPlatformNotFound or errCommandNotFound.
	command(ctx context.Context, platformID, commandID int32) (command, error)
	// createCommand stores c under a new id and returns it with that id, or
	// errPlatformNotFound. The ID of c is ignored.
	createCommand(ctx context.Context, c command) (command, error)
	// ping returns an error when the tables cannot be queried.
	ping(ctx context.Context) error
	// close waits for running calls and closes the connections.
	close() error
}

// openStore returns the store that address names:
//
//	sqlite::memory:  a database of this process alone, gone with it
//	sqlite:FILE      a SQLite file
func openStore(address string) (commandStore, error) {
	if file, ok := strings.CutPrefix(address, "sqlite:"); ok {
		return openSQLite(file)
	}
	return nil, errors.New("neither sqlite:FILE nor sqlite::memory:")
}
