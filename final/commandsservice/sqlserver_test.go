package commandsservice

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestSQLServer(t *testing.T) {
	testkit.SQLServerURL(t) // or skip all of it

	testStore(t, func(t testing.TB) commandStore { return openTestStore(t, testkit.SQLServerURL(t)) })

	t.Run("migrate creates the database once, however many run at a time", func(t *testing.T) {
		url := testkit.SQLServerURL(t)
		stores := make([]commandStore, 6)
		for i := range stores {
			var err error
			stores[i], err = openStore(url)
			require.NoError(t, err)
			defer stores[i].close()
		}
		log, _ := testkit.CaptureLog()
		testkit.InParallel(t, len(stores), func(i int) error { return setUp(t.Context(), stores[i], testkit.Patience, log) })
		require.NoError(t, stores[0].migrate(t.Context()), "and once more")
		testkit.InParallel(t, len(stores), func(i int) error {
			_, err := stores[i].upsertPlatforms(t.Context(), numbered(1, 2000))
			return err
		})
		platforms, err := allPlatforms(t.Context(), stores[0])
		require.NoError(t, err)
		assert.Equal(t, numbered(1, 2000), platforms)
	})

	t.Run("PlatformService's database is refused", func(t *testing.T) {
		store, err := openSQLServer(testkit.SQLServerURL(t))
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.db.Create(t.Context()))
		_, err = store.db.Exec(`CREATE TABLE dbo.Platforms (Id int NOT NULL, Name nvarchar(max) NOT NULL, Publisher nvarchar(max) NOT NULL)`)
		require.NoError(t, err)
		require.ErrorIs(t, store.migrate(t.Context()), errForeignDatabase)
	})

	t.Run("a missing table fails the ping", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t)).(*sqlServerStore)
		require.NoError(t, store.ping(t.Context()))
		_, err := store.db.Exec(`DROP TABLE dbo.Commands; DROP TABLE dbo.Platforms`)
		require.NoError(t, err)
		require.Error(t, store.ping(t.Context()))
	})

	t.Run("an upsert that waits too long for another is an error, and can be repeated", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t)).(*sqlServerStore)
		other, err := store.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer other.Rollback()
		_, err = other.Exec(`EXEC sp_getapplock @Resource = N'microcomm upsert', @LockMode = 'Exclusive', @LockOwner = 'Transaction'`)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), web.RequestTimeout)
		defer cancel()
		_, err = store.upsertPlatforms(ctx, numbered(1, 2))
		require.ErrorContains(t, err, "another upsert takes too long")
		assert.True(t, databaseUnavailable(err))
		require.NoError(t, other.Rollback())
		stored, err := store.upsertPlatforms(t.Context(), numbered(1, 2))
		require.NoError(t, err)
		assert.Equal(t, 2, stored)
	})

	t.Run("a command that is not committed keeps no reader waiting", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t)).(*sqlServerStore)
		_, err := store.upsertPlatforms(t.Context(), numbered(1, 2))
		require.NoError(t, err)
		suspended, err := store.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer suspended.Rollback()
		_, err = suspended.Exec(`INSERT dbo.Commands (HowTo, CommandLine, PlatformId) SELECT N'x', N'x', Id FROM dbo.Platforms WHERE ExternalId = 1`)
		require.NoError(t, err)
		commands, _, err := store.commandsAfter(t.Context(), 1, 0, 10)
		require.NoError(t, err)
		assert.Empty(t, commands)
		require.NoError(t, store.ping(t.Context()))
		_, err = store.upsertPlatforms(t.Context(), numbered(1, 3))
		require.NoError(t, err)
	})
}

// TestUpsertJSON: names arrive in JSON as text, whatever is in them.
func TestUpsertJSON(t *testing.T) {
	text, err := upsertJSON([]platform{{ExternalID: 4, Name: "a\x00\""}, {ExternalID: 5, Name: "é😀"}})
	require.NoError(t, err)
	assert.Equal(t, `[{"id":4,"name":"a\u0000\""},{"id":5,"name":"é😀"}]`, text)
}
