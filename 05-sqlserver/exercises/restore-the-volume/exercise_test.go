//go:build exercise

package e2e

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// volume is a folder with PlatformService's database, and a system that uses it.
type volume struct {
	*system
	dir string // on another disk, for backups
}

func newVolume(t *testing.T) *volume {
	t.Helper()
	file := filepath.Join(t.TempDir(), "platforms.db")
	dir := t.TempDir()
	return &volume{local(t, "DATABASE_URL=sqlite:"+file, "COMMANDS_DATABASE_URL=sqlite:"+filepath.Join(dir, "commands.db")), dir}
}

// run runs platformservice with arguments, as kubectl exec or a Job does, in the
// environment of the service. It returns whether that succeeded, and its output.
func (v *volume) run(t *testing.T, args ...string) (succeeded bool, output string) {
	t.Helper()
	logs := &logBuffer{}
	process := exec.Command(filepath.Join(os.Getenv("E2E_BIN"), "platformservice"), args...)
	process.Env = append(os.Environ(), v.platforms.env...)
	process.Stdout, process.Stderr = logs, logs
	require.NoError(t, process.Start())
	ended := make(chan error, 1)
	go func() { ended <- process.Wait() }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		select {
		case err := <-ended:
			return err == nil, logs.String()
		case <-tick.C:
			if !strings.Contains(logs.String(), "listening for HTTP") {
				continue
			}
		case <-deadline:
		}
		_ = process.Process.Kill()
		<-ended
		require.FailNow(t, "platformservice "+strings.Join(args, " ")+" does not end: it starts the service, or waits", logs.String())
	}
}

// backUp makes a backup of the running service, and returns its file.
func (v *volume) backUp(t *testing.T) (file string) {
	t.Helper()
	file = filepath.Join(v.dir, "backup.db")
	succeeded, output := v.run(t, "backup", file)
	require.True(t, succeeded, "platformservice backup FILE: %s", output)
	return file
}

func (v *volume) names(t *testing.T) (names []string) {
	t.Helper()
	var platforms []platform
	v.platforms.call(t, http.MethodGet, "/api/platforms", "", http.StatusOK, &platforms)
	for _, p := range platforms[min(3, len(platforms)):] { // after the three of the seed
		names = append(names, p.Name)
	}
	return names
}

// What was written a moment ago is in the backup, which is one file. The service
// does not notice.
func TestBackupOfARunningService(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	createPlatform(t, v.system, "Docker")
	backup := v.backUp(t)
	createPlatform(t, v.system, "Go")
	assert.Equal(t, []string{"Docker", "Go"}, v.names(t))
	v.platforms.kill()

	alone := filepath.Join(t.TempDir(), "alone.db")
	require.NoError(t, os.Rename(backup, alone))
	other := &volume{system: local(t, "DATABASE_URL=sqlite:"+alone)}
	other.platforms.start(t)
	assert.Equal(t, []string{"Docker"}, other.names(t), "platforms of a service on the backup")
}

func TestBackupOverwritesNothing(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	backup := v.backUp(t)
	before, err := os.ReadFile(backup)
	require.NoError(t, err)
	createPlatform(t, v.system, "Docker")
	succeeded, output := v.run(t, "backup", backup)
	require.False(t, succeeded, "a backup into a file that exists: %s", output)
	after, err := os.ReadFile(backup)
	require.NoError(t, err)
	assert.Equal(t, before, after, "the backup of before")
}

// The service was killed, so its last writes are still in the log beside the
// database. They are newer than the backup, and not wanted.
func TestRestoreBringsBackTheBackup(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	docker := createPlatform(t, v.system, "Docker")
	backup := v.backUp(t)
	for _, name := range []string{"wrong", "wrong too"} {
		createPlatform(t, v.system, name)
	}
	v.platforms.kill()

	succeeded, output := v.run(t, "restore", backup)
	require.True(t, succeeded, "platformservice restore FILE: %s", output)
	v.platforms.start(t)
	assert.Equal(t, []string{"Docker"}, v.names(t))
	assert.Greater(t, createPlatform(t, v.system, "Go").ID, docker.ID)
	assert.Equal(t, []string{"Docker", "Go"}, v.names(t))
}

func TestRestoreIntoAnEmptyVolume(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	createPlatform(t, v.system, "Docker")
	backup := v.backUp(t)

	empty := &volume{system: local(t, "DATABASE_URL=sqlite:"+filepath.Join(t.TempDir(), "platforms.db"))}
	succeeded, output := empty.run(t, "restore", backup)
	require.True(t, succeeded, "platformservice restore FILE: %s", output)
	empty.platforms.start(t)
	assert.Equal(t, []string{"Docker"}, empty.names(t))
}

// A restore is done under stress, and the wrong file is soon given. It must not
// cost the database that is there.
func TestRestoreRefusesAWrongFile(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	v.commands.start(t)
	createPlatform(t, v.system, "Docker")
	backup, err := os.ReadFile(v.backUp(t))
	require.NoError(t, err)
	v.platforms.kill()
	v.commands.kill()

	file := func(name string, content []byte) string {
		path := filepath.Join(v.dir, name)
		require.NoError(t, os.WriteFile(path, content, 0o600))
		return path
	}
	damaged := slices.Clone(backup) // behind the first page, which says what it is
	for i := 4096; i < len(damaged); i++ {
		damaged[i] = 0xff
	}
	missing := filepath.Join(v.dir, "missing.db")
	for what, path := range map[string]string{
		"a file that is not there":      missing,
		"an empty file":                 file("empty.db", nil),
		"a text":                        file("notes.txt", []byte(strings.Repeat("no database\n", 1000))),
		"a backup with a damage":        file("damaged.db", damaged),
		"half a backup":                 file("half.db", backup[:len(backup)/2]),
		"a database of CommandsService": filepath.Join(v.dir, "commands.db"),
	} {
		succeeded, output := v.run(t, "restore", path)
		require.False(t, succeeded, "restore of %s: %s", what, output)
		require.NotContains(t, output, "panic:")
	}
	assert.NoFileExists(t, missing, "a restore makes no file in the place of the one that is missing")
	v.platforms.start(t)
	assert.Equal(t, []string{"Docker"}, v.names(t), "the database as it was")
}

// A name of a file is data, also where it becomes a part of an address.
func TestBackupMayHaveAnyName(t *testing.T) {
	v := newVolume(t)
	v.platforms.start(t)
	createPlatform(t, v.system, "Docker")
	for _, name := range []string{"of Monday.db", "100%25.db", "what?mode=memory", "#1.db"} {
		file := filepath.Join(v.dir, name)
		succeeded, output := v.run(t, "backup", file)
		require.True(t, succeeded, "platformservice backup %q: %s", name, output)
		require.FileExists(t, file)
		empty := &volume{system: local(t, "DATABASE_URL=sqlite:"+filepath.Join(t.TempDir(), "platforms.db"))}
		succeeded, output = empty.run(t, "restore", file)
		require.True(t, succeeded, "platformservice restore %q: %s", name, output)
		empty.platforms.start(t)
		require.Equal(t, []string{"Docker"}, empty.names(t), "what is restored from %q", name)
		empty.platforms.kill()
	}
}

func TestWrongArgumentsAreAnError(t *testing.T) {
	v := newVolume(t)
	for _, args := range [][]string{{"backup"}, {"restore"}, {"backup", ""}, {"restore", "a", "b"}, {"help-me", "x"}} {
		succeeded, output := v.run(t, args...)
		assert.False(t, succeeded, "%q: %s", args, output)
	}
}
