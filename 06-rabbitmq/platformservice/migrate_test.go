package platformservice

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMigrate(t *testing.T) {
	t.Run("a second time changes nothing", func(t *testing.T) {
		for _, url := range []string{"sqlite::memory:", "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")} {
			store := openTestStore(t, url)
			known := createPlatform(t, store, "x")
			require.NoError(t, store.migrate(t.Context()))
			platforms, err := store.platforms(t.Context())
			require.NoError(t, err)
			assert.Equal(t, []platform{known}, platforms)
		}
	})

	t.Run("a table older than the migrations is adopted", func(t *testing.T) {
		store, err := openSQLite(filepath.Join(t.TempDir(), "platforms.db"))
		require.NoError(t, err)
		defer store.close()
		_, err = store.db.Exec(`
			CREATE TABLE platforms (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, publisher TEXT NOT NULL, cost TEXT NOT NULL);
			INSERT INTO platforms (name, publisher, cost) VALUES ('x', 'p', '1')`)
		require.NoError(t, err)
		require.NoError(t, store.migrate(t.Context()))
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ID: 1, Name: "x", Publisher: "p", Cost: "1"}}, platforms)
	})
}
