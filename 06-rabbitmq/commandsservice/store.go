package commandsservice

import (
	"context"
	"errors"
	"strings"
)

// ErrPlatformNotFound is returned for a platform that the store does not have.
var ErrPlatformNotFound = errors.New("platform not found")

// ErrCommandNotFound is returned for a command that the platform does not have.
var ErrCommandNotFound = errors.New("command not found")

// Store is what the service needs of a database. A platform is always named by
// its ExternalID. Any number of goroutines may use one. Every method can also
// return the driver's error, wrapped with what was being done.
type Store interface {
	// Prepare creates what is missing. It is called before anything else.
	Prepare(ctx context.Context) error
	// Platforms returns all platforms in ExternalID order.
	Platforms(ctx context.Context) ([]Platform, error)
	// Platform returns one platform, or ErrPlatformNotFound.
	Platform(ctx context.Context, externalID int32) (Platform, error)
	// AddPlatform stores p, unless a platform with its ExternalID is known: that
	// one is left as it is. Added says which it was.
	AddPlatform(ctx context.Context, p Platform) (added bool, err error)
	// Commands returns the commands of a platform in id order, or ErrPlatformNotFound.
	Commands(ctx context.Context, platformID int32) ([]Command, error)
	// Command returns one command of a platform, ErrPlatformNotFound or ErrCommandNotFound.
	Command(ctx context.Context, platformID, commandID int32) (Command, error)
	// CreateCommand stores c under a new id and returns it with that id, or
	// ErrPlatformNotFound. The ID that c comes with is ignored.
	CreateCommand(ctx context.Context, c Command) (Command, error)
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
// The error does not show url: it may hold a password that is meant for another
// kind of database.
func OpenStore(url string) (Store, error) {
	if file, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(file)
	}
	return nil, errors.New("COMMANDS_DATABASE_URL: neither sqlite:FILE nor sqlite::memory:")
}
