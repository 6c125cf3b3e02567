package e2e

import (
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// These are the steps of docs/operations.md, "Backup and restore".

// onFile runs one SQL statement on a SQLite file, as the program sqlite3 does.
func onFile(t *testing.T, file, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=60000")
	require.NoError(t, err)
	_, err = db.Exec(statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// restore puts the backup in the place of the file, whose service is stopped.
func restore(t *testing.T, backup, file string) {
	t.Helper()
	for _, old := range []string{file + "-wal", file + "-shm"} {
		if err := os.Remove(old); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
	}
	require.NoError(t, os.Rename(backup, file))
}

// postOnce posts a platform with an Idempotency-Key, and returns its id and if
// the response is an earlier one.
func (s *service) postOnce(t *testing.T, key string) (id int32, replayed bool) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+"/api/platforms",
		strings.NewReader(fmt.Sprintf(`{"name": %q, "publisher": "e2e", "cost": "Free"}`, key)))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Idempotency-Key", `"`+key+`"`)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusCreated, response.StatusCode)
	_, err = fmt.Fscanf(response.Body, `{"id":%d,`, &id)
	require.NoError(t, err)
	return id, response.Header.Get("Idempotency-Replayed") == "true"
}

func TestPlatformServiceIsRestored(t *testing.T) {
	dir, s := t.TempDir(), busOnly(t) // in this order: the folder is deleted after the services have ended
	file, backup := filepath.Join(dir, "platforms.db"), filepath.Join(dir, "backup.db")
	s.platforms.env = append(s.platforms.env, "DATABASE_URL=sqlite:"+file)
	s.platforms.start(t)
	before, _ := s.platforms.postOnce(t, "before") // its event waits: there is no queue yet
	onFile(t, file, "VACUUM INTO '"+backup+"'")    // while the service runs
	s.commands.start(t)
	after, _ := s.platforms.postOnce(t, "after")
	eventually(t, "both have arrived", func() bool { return s.knows(before) && s.knows(after) })
	commands := fmt.Sprintf("/api/c/platforms/%d/commands", after)
	s.commands.call(t, http.MethodPost, commands, `{"howTo": "Build", "commandLine": "make"}`, http.StatusCreated, nil)

	s.platforms.kill()
	restore(t, backup, file)
	// What was created since is lost; its ids must not be given to others, since
	// CommandsService has commands under them.
	onFile(t, file, fmt.Sprintf("UPDATE sqlite_sequence SET seq = %d WHERE name = 'platforms'", after))
	s.platforms.start(t)

	id, replayed := s.platforms.postOnce(t, "before")
	require.Equal(t, before, id)
	require.True(t, replayed, "a key of before the backup is known")
	id, replayed = s.platforms.postOnce(t, "after")
	require.Greater(t, id, after, "a lost platform is created again, under an id that was never used")
	require.False(t, replayed)
	eventually(t, "it has arrived", func() bool { return s.knows(id) })
	eventually(t, "the events of the backup have been published again", func() bool { return s.pendingEvents(t) == 0 })
	s.commands.call(t, http.MethodGet, commands, "", http.StatusOK, nil)
	var list []struct {
		ID int32 `json:"id"`
	}
	s.commands.call(t, http.MethodGet, "/api/c/platforms", "", http.StatusOK, &list)
	seen := map[int32]bool{}
	for _, p := range list {
		require.False(t, seen[p.ID], "platform %d is there twice", p.ID)
		seen[p.ID] = true
	}
}

// pendingEvents is what /metrics says of the outbox.
func (s *system) pendingEvents(t *testing.T) int {
	t.Helper()
	status, text, err := s.platforms.send(http.MethodGet, "/metrics", "")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	for line := range strings.Lines(string(text)) {
		var pending int
		if n, _ := fmt.Sscanf(line, "outbox_pending_events %d", &pending); n == 1 {
			return pending
		}
	}
	require.FailNow(t, "no outbox_pending_events")
	return 0
}

func TestCommandsServiceIsRestored(t *testing.T) {
	dir, s := t.TempDir(), busOnly(t)
	file, backup := filepath.Join(dir, "commands.db"), filepath.Join(dir, "backup.db")
	s.commands.env = append(s.commands.env, "COMMANDS_DATABASE_URL=sqlite:"+file)
	s.commands.start(t)
	s.platforms.start(t)
	before := createPlatform(t, s, "before")
	eventually(t, "it has arrived", func() bool { return s.knows(before.ID) })
	commands := fmt.Sprintf("/api/c/platforms/%d/commands", before.ID)
	s.commands.call(t, http.MethodPost, commands, `{"howTo": "Build", "commandLine": "make"}`, http.StatusCreated, nil)
	onFile(t, file, "VACUUM INTO '"+backup+"'")
	s.commands.call(t, http.MethodPost, commands, `{"howTo": "Run", "commandLine": "make run"}`, http.StatusCreated, nil)
	after := createPlatform(t, s, "after")
	eventually(t, "it has arrived", func() bool { return s.knows(after.ID) })

	s.commands.kill()
	restore(t, backup, file)
	s.commands.start(t)

	eventually(t, "the backfill has brought it", func() bool { return s.knows(after.ID) })
	var list []struct {
		HowTo string `json:"howTo"`
	}
	s.commands.call(t, http.MethodGet, commands, "", http.StatusOK, &list)
	require.Len(t, list, 1, "commands of after the backup are nowhere else")
	require.Equal(t, "Build", list[0].HowTo)
}
