package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testID = 0x6d637465

// watched returns the File of a new database with a table x, and a pool of it.
func watched(t *testing.T) (path string, file *File, db *sql.DB) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "a file?, 100%25 #1.db")
	file = &File{}
	db = file.Open("file:" + (&url.URL{Path: path}).EscapedPath())
	t.Cleanup(func() { db.Close() })
	_, err := db.Exec(fmt.Sprintf(`PRAGMA journal_mode = WAL; PRAGMA application_id = %d; CREATE TABLE x (y)`, testID))
	require.NoError(t, err)
	t.Cleanup(func() { file.Close() })
	require.NoError(t, file.Watch(t.Context(), path, testID))
	return path, file, db
}

func TestFile(t *testing.T) {
	t.Run("a file that is still there has no faults", func(t *testing.T) {
		_, file, db := watched(t)
		require.NoError(t, file.Check())
		require.NoError(t, file.Ping(t.Context()))
		_, err := db.Exec(`INSERT INTO x VALUES (1)`)
		require.NoError(t, err)
		require.NoError(t, db.Close(), "others come and go")
		require.NoError(t, file.Ping(t.Context()))
	})

	t.Run("a ping changes nothing", func(t *testing.T) {
		_, file, db := watched(t)
		require.NoError(t, file.Ping(t.Context()))
		var id, version int
		require.NoError(t, db.QueryRow(`SELECT a.application_id, u.user_version FROM pragma_application_id a, pragma_user_version u`).Scan(&id, &version))
		assert.Equal(t, []int{testID, 0}, []int{id, version})
	})

	t.Run("what was stored before the watch is in the file itself", func(t *testing.T) {
		path, _, _ := watched(t)
		content, err := os.ReadFile(path)
		require.NoError(t, err)
		alone := filepath.Join(t.TempDir(), "alone.db")
		require.NoError(t, os.WriteFile(alone, content, 0o600))
		db, err := sql.Open("sqlite3", alone)
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec(`SELECT y FROM x`)
		assert.NoError(t, err)
	})

	t.Run("one in memory, and one that is not watched yet, has no faults", func(t *testing.T) {
		var file File
		assert.NoError(t, file.Check())
		assert.NoError(t, file.Ping(t.Context()))
		assert.NoError(t, file.Close())
		db := file.Open(":memory:")
		defer db.Close()
		assert.NoError(t, db.Ping())
	})

	t.Run("a link to the file is followed", func(t *testing.T) {
		dir := t.TempDir()
		link := filepath.Join(dir, "link.db")
		path, _, _ := watched(t)
		if err := os.Symlink(path, link); err != nil {
			t.Skip("no links here: ", err)
		}
		var file File
		defer file.Close()
		require.NoError(t, file.Watch(t.Context(), link, testID))
		require.NoError(t, file.Ping(t.Context()))
		require.NoError(t, os.Remove(link))
		assert.ErrorIs(t, file.Check(), ErrReplaced, "a restart would not find it")
	})

	for what, replace := range map[string]func(path string) error{
		"the file was deleted": os.Remove,
		"the file was moved":   func(path string) error { return os.Rename(path, path+".old") },
		"all three were deleted": func(path string) error {
			return errors.Join(os.Remove(path), os.Remove(path+"-wal"), os.Remove(path+"-shm"))
		},
		"its folder was deleted": func(path string) error { return os.RemoveAll(filepath.Dir(path)) },
		"-wal was deleted":       func(path string) error { return os.Remove(path + "-wal") },
		"-shm was deleted":       func(path string) error { return os.Remove(path + "-shm") },
		"another file has its name": func(path string) error {
			return errors.Join(os.WriteFile(path+".new", nil, 0o600), os.Rename(path+".new", path))
		},
		"another -wal has its name": func(path string) error {
			return errors.Join(os.Remove(path+"-wal"), os.WriteFile(path+"-wal", nil, 0o600))
		},
	} {
		t.Run(what, func(t *testing.T) {
			if runtime.GOOS == "windows" {
				t.Skip("a file that is open cannot be deleted")
			}
			path, file, db := watched(t)
			require.NoError(t, replace(path))
			assert.ErrorIs(t, file.Check(), ErrReplaced)
			err := file.Ping(t.Context())
			assert.ErrorIs(t, err, ErrReplaced)
			assert.True(t, Unavailable(err))
			assert.Equal(t, "the database's file was deleted or replaced while the service ran", Reason(err))

			// A new connection would create an empty database, or open another one.
			db.SetMaxIdleConns(0)
			assert.ErrorIs(t, db.PingContext(t.Context()), ErrReplaced)
		})
	}

	t.Run("a file that is put back is the one that was opened", func(t *testing.T) {
		if runtime.GOOS == "windows" {
			t.Skip("a file that is open cannot be moved")
		}
		path, file, _ := watched(t)
		require.NoError(t, os.Rename(path, path+".old"))
		require.ErrorIs(t, file.Check(), ErrReplaced)
		require.NoError(t, os.Rename(path+".old", path))
		assert.NoError(t, file.Ping(t.Context()))
	})

	t.Run("a ping finds a database that is read-only", func(t *testing.T) {
		_, file, _ := watched(t)
		_, err := file.db.Exec(`PRAGMA query_only = 1`)
		require.NoError(t, err)
		err = file.Ping(t.Context())
		require.Error(t, err)
		assert.True(t, Unavailable(err))
		assert.Equal(t, "the database is read-only", Reason(err))
	})

	t.Run("a ping does not wait for another writer", func(t *testing.T) {
		_, file, db := watched(t)
		lock, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer lock.Close()
		_, err = lock.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
		require.NoError(t, err)
		assert.NoError(t, file.Ping(t.Context()))
	})
}

// TestUnavailable has every primary result code of SQLite that a statement can
// return.
func TestUnavailable(t *testing.T) {
	for code, want := range map[sqlite3.ErrNo]bool{
		sqlite3.ErrBusy:      true, // another process has the lock
		sqlite3.ErrLocked:    true,
		sqlite3.ErrFull:      true, // no space
		sqlite3.ErrNoLFS:     true, // the file system takes no larger file
		sqlite3.ErrIoErr:     true, // the disk
		sqlite3.ErrNomem:     true,
		sqlite3.ErrReadonly:  true, // permissions, or a file system that was remounted
		sqlite3.ErrPerm:      true,
		sqlite3.ErrCantOpen:  true, // the folder, or no file descriptor left
		sqlite3.ErrProtocol:  true, // too many want to lock the write-ahead log
		sqlite3.ErrSchema:    true, // changed by another process, while the statement was prepared
		sqlite3.ErrAbort:     true, // its transaction was rolled back
		sqlite3.ErrInterrupt: true,
		sqlite3.ErrCorrupt:   true, // until a backup is restored
		sqlite3.ErrNotADB:    true,

		sqlite3.ErrError:      false, // the SQL is wrong
		sqlite3.ErrInternal:   false,
		sqlite3.ErrNotFound:   false,
		sqlite3.ErrEmpty:      false, // not used
		sqlite3.ErrTooBig:     false, // the data
		sqlite3.ErrConstraint: false,
		sqlite3.ErrMismatch:   false,
		sqlite3.ErrMisuse:     false, // the program
		sqlite3.ErrAuth:       false,
		sqlite3.ErrFormat:     false, // not used
		sqlite3.ErrRange:      false,
		sqlite3.ErrNotice:     false, // for the log
		sqlite3.ErrWarning:    false,
	} {
		err := fmt.Errorf("create: %w", sqlite3.Error{Code: code, ExtendedCode: sqlite3.ErrNoExtended(code) | 1<<8})
		assert.Equal(t, want, Unavailable(err), "code %d", code)
		if !want {
			assert.Empty(t, Reason(err), "code %d", code)
		}
	}
	assert.False(t, Unavailable(nil))
	assert.False(t, Unavailable(sql.ErrNoRows))
	assert.True(t, Unavailable(fmt.Errorf("create: %w", ErrReplaced)))
}
