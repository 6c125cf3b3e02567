package platformservice

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/sqlserver"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestSQLServer(t *testing.T) {
	testkit.SQLServerURL(t) // or skip all of it

	testStore(t, func(t testing.TB) platformStore { return openTestStore(t, testkit.SQLServerURL(t)) })

	t.Run("what was stored outlives Close", func(t *testing.T) {
		url := testkit.SQLServerURL(t)
		store := openTestStore(t, url)
		created := createPlatform(t, store, "x")
		require.NoError(t, store.close())
		found, err := openTestStore(t, url).platform(t.Context(), created.ID)
		require.NoError(t, err)
		assert.Equal(t, created, found)
	})

	t.Run("an id that is given again is an error", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t))
		first := createPlatform(t, store, "x")
		_, err := store.(*sqlServerStore).db.Exec(`DBCC CHECKIDENT (N'dbo.Platforms', RESEED, 0)`)
		require.NoError(t, err)
		_, err = store.createPlatform(t.Context(), platform{Name: "y", Publisher: "p", Cost: "1"})
		require.Error(t, err)
		assert.False(t, databaseUnavailable(err), err)
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{first}, platforms)
	})

	t.Run("migrate creates the database once, however many run at a time", func(t *testing.T) {
		url := testkit.SQLServerURL(t)
		stores := make([]platformStore, 6)
		for i := range stores {
			var err error
			stores[i], err = openStore(url, "FULL")
			require.NoError(t, err)
			defer stores[i].close()
		}
		log, _ := testkit.CaptureLog()
		testkit.InParallel(t, len(stores), func(i int) error {
			return setUp(t.Context(), stores[i], Config{DatabaseWait: testkit.Patience, Seed: true}, log)
		})
		platforms, err := allPlatforms(t.Context(), stores[0])
		require.NoError(t, err)
		assert.Len(t, platforms, 3)
		require.NoError(t, stores[0].migrate(t.Context()), "and once more")
	})

	t.Run("CommandsService's database is refused", func(t *testing.T) {
		store, err := openSQLServer(testkit.SQLServerURL(t))
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.db.Create(t.Context()))
		_, err = store.db.Exec(`CREATE TABLE dbo.Platforms (Id int NOT NULL, ExternalId int NOT NULL, Name nvarchar(max) NOT NULL)`)
		require.NoError(t, err)
		require.ErrorIs(t, store.migrate(t.Context()), errForeignDatabase)
	})

	t.Run("a missing table, or another service's, fails the ping", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t)).(*sqlServerStore)
		require.NoError(t, store.ping(t.Context()))
		_, err := store.db.Exec(`EXEC sp_rename N'dbo.Outbox', N'Outbox2'`)
		require.NoError(t, err)
		require.Error(t, store.ping(t.Context()))
		_, err = store.db.Exec(`EXEC sp_rename N'dbo.Outbox2', N'Outbox'; ALTER TABLE dbo.Platforms DROP COLUMN Publisher`)
		require.NoError(t, err)
		require.Error(t, store.ping(t.Context()))
	})

	t.Run("a platform that is not committed keeps no reader waiting", func(t *testing.T) {
		store := openTestStore(t, testkit.SQLServerURL(t)).(*sqlServerStore)
		first := createPlatform(t, store, "first")
		suspended, err := store.db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		defer suspended.Rollback()
		_, err = insertSQLServer(t.Context(), suspended, platform{Name: "suspended", Publisher: "p", Cost: "1"})
		require.NoError(t, err)

		later := createPlatform(t, store, "later")
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{first, later}, platforms)
		events, err := store.PendingEvents(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Len(t, events, 2)
		pending, oldest, err := store.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, pending)
		assert.Positive(t, oldest)
		require.NoError(t, store.ping(t.Context()))
		require.NoError(t, store.createIfEmpty(t.Context(), nil))

		require.NoError(t, suspended.Commit())
		events, err = store.PendingEvents(t.Context(), 0, 10)
		require.NoError(t, err)
		assert.Len(t, events, 3, "what is committed late is found from the start")
	})

	t.Run("the table of the .NET service is adopted", func(t *testing.T) {
		store, err := openSQLServer(testkit.SQLServerURL(t))
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.db.Create(t.Context()))
		_, err = store.db.Exec(`
			CREATE TABLE [Platforms] (
				[Id] int NOT NULL IDENTITY,
				[Name] nvarchar(max) NOT NULL,
				[Publisher] nvarchar(max) NOT NULL,
				[Cost] nvarchar(max) NOT NULL,
				CONSTRAINT [PK_Platforms] PRIMARY KEY ([Id])
			);
			INSERT INTO [Platforms] VALUES (N'Dot Net', N'Microsoft', N'Free')`)
		require.NoError(t, err)
		require.NoError(t, store.migrate(t.Context()))
		platforms, err := allPlatforms(t.Context(), store)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ID: 1, Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"}}, platforms)
	})
}

// unconfirmedStore is a store that does not learn what became of its commits.
type unconfirmedStore struct{ platformStore }

func (s unconfirmedStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	return platform{}, fmt.Errorf("create platform: %w: %w", sqlserver.ErrNotConfirmed, context.DeadlineExceeded)
}

// TestUnconfirmedCommit: a 503 would say that the platform was not created, and a
// client may then create it again.
func TestUnconfirmedCommit(t *testing.T) {
	log, logged := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: unconfirmedStore{memoryStore(t)}, slots: web.NewSlots(1), log: log}).handler())
	r := testkit.Send(t, "POST", url+"/api/platforms", `{"name":"x","publisher":"p","cost":"1"}`)
	testkit.RequireProblem(t, r, http.StatusInternalServerError)
	assert.Contains(t, r.Body, "Idempotency-Key")
	assert.Empty(t, r.Header.Get("Retry-After"))
	assert.Len(t, logged.Lines("not confirmed"), 1)
}

// TestOpenSQLServer: which forms of a URL there are is tested in internal/sqlserver.
func TestOpenSQLServer(t *testing.T) {
	for what, url := range map[string]string{
		"a URL without a database":              "sqlserver://SA:s3cret@localhost:1433",
		"an ADO.NET form without a database":    "Server=localhost;User Id=SA;Password=s3cret",
		"a URL that cannot be parsed":           "sqlserver://SA:s3cret%@localhost:1433?database=x",
		"a port that is no number":              "sqlserver://SA:s3cret@localhost:x?database=x",
		"an ADO.NET form with a port too large": "Server=localhost,99999;Database=x;User Id=SA;Password=s3cret",
		"no semicolon behind the server":        "Server=localhost Password=s3cret;Database=x",
		"no semicolon behind the database":      "Server=localhost;Database=x Password=s3cret",
		"no semicolon behind the user":          "Server=localhost;Database=x;User Id=SA Password=s3cret",
	} {
		t.Run("refuses "+what+" without showing the password", func(t *testing.T) {
			_, err := openStore(url, "FULL")
			require.ErrorContains(t, err, "DATABASE_URL")
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}

	t.Run("an unreachable server is an error without the password", func(t *testing.T) {
		store, err := openStore("sqlserver://SA:s3cret@127.0.0.1:1?database=platformsdb&dial+timeout=1", "FULL")
		require.NoError(t, err)
		defer store.close()
		err = store.migrate(t.Context())
		require.ErrorContains(t, err, "platformsdb")
		assert.NotContains(t, err.Error(), "s3cret")
		assert.True(t, databaseUnavailable(store.ping(t.Context())))
		_, err = store.createPlatform(t.Context(), platform{Name: "x", Publisher: "p", Cost: "1"})
		assert.True(t, databaseUnavailable(err), "which is a 503")
		_, _, err = store.createPlatformOnce(t.Context(), "key", platform{Name: "x", Publisher: "p", Cost: "1"})
		assert.True(t, databaseUnavailable(err))
	})
}
