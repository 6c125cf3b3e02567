package platformservice

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSQLServer(t *testing.T) {
	sqlServerURL(t) // or skip all of it

	testStore(t, func(t testing.TB) platformStore { return openTestStore(t, sqlServerURL(t)) })

	t.Run("what was stored outlives Close", func(t *testing.T) {
		url := sqlServerURL(t)
		store := openTestStore(t, url)
		created := createPlatform(t, store, "x")
		require.NoError(t, store.close())
		found, err := openTestStore(t, url).platform(t.Context(), created.ID)
		require.NoError(t, err)
		assert.Equal(t, created, found)
	})

	t.Run("an id that is given again is an error", func(t *testing.T) {
		store := openTestStore(t, sqlServerURL(t))
		first := createPlatform(t, store, "x")
		_, err := store.(*sqlServerStore).db.Exec(`DBCC CHECKIDENT (N'dbo.Platforms', RESEED, 0)`)
		require.NoError(t, err)
		_, err = store.createPlatform(t.Context(), platform{Name: "y", Publisher: "p", Cost: "1"})
		require.Error(t, err)
		assert.False(t, sqlServerUnavailable(err), err)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{first}, platforms)
	})

	t.Run("migrate creates the database once, however many run at a time", func(t *testing.T) {
		url := sqlServerURL(t)
		stores := make([]platformStore, 6)
		for i := range stores {
			var err error
			stores[i], err = openStore(url)
			require.NoError(t, err)
			defer stores[i].close()
		}
		log, _ := captureLog()
		inParallel(t, len(stores), func(i int) error {
			return setUp(t.Context(), stores[i], Config{DatabaseWait: patience, Seed: true}, log)
		})
		platforms, err := stores[0].platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 3)
		require.NoError(t, stores[0].migrate(t.Context()), "and once more")
	})

	t.Run("the table of the .NET service is adopted", func(t *testing.T) {
		store, err := openSQLServer(sqlServerURL(t))
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.createDatabase(t.Context()))
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
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ID: 1, Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"}}, platforms)
	})
}

// sqlServerURL returns the URL of a database on the server that SQLSERVER_URL
// names. The database is not there yet; it is dropped when the test ends.
func sqlServerURL(t testing.TB) string {
	t.Helper()
	server := os.Getenv("SQLSERVER_URL")
	if server == "" {
		t.Skip("SQLSERVER_URL is not set: it names a server, sqlserver://sa:PASSWORD@localhost:1433")
	}
	u, err := url.Parse(server)
	require.NoError(t, err)
	name := "microcomm test " + rand.Text()
	query := u.Query()
	query.Set("database", "master")
	u.RawQuery = query.Encode()
	master, err := sql.Open("sqlserver", u.String())
	require.NoError(t, err)
	t.Cleanup(func() {
		defer master.Close()
		_, err := master.Exec(`
			IF DB_ID(N'` + name + `') IS NOT NULL
			BEGIN
				ALTER DATABASE [` + name + `] SET SINGLE_USER WITH ROLLBACK IMMEDIATE;
				DROP DATABASE [` + name + `];
			END`)
		assert.NoError(t, err)
	})
	query.Set("database", name)
	u.RawQuery = query.Encode()
	return u.String()
}

func TestOpenSQLServer(t *testing.T) {
	const password = "pa55 w0rd%"
	for form, url := range map[string]string{
		"the ADO.NET form":                "Server=mssql-clusterip-srv,1433;Initial Catalog=platformsdb;User Id=SA;Password=pa55 w0rd%;",
		"the ADO.NET form, other keys":    "data source=mssql-clusterip-srv,1433;Database=platformsdb;UID=SA;PWD=pa55 w0rd%",
		"the ADO.NET form, after options": "Server=tcp:mssql-clusterip-srv,1433;Encrypt=false;TrustServerCertificate=true;Initial Catalog=platformsdb;User Id=SA;Password=pa55 w0rd%",
		"the ADO.NET form, server last":   `Password="pa55 w0rd%";User ID=SA;Initial Catalog=platformsdb;SERVER = tcp:mssql-clusterip-srv,1433`,
		"the ADO.NET form, Address":       ";Initial Catalog=platformsdb;UID=SA;PWD=pa55 w0rd%;Address=mssql-clusterip-srv,1433",
		"the ADO.NET form, Addr":          "Initial Catalog=platformsdb;UID=SA;PWD=pa55 w0rd%;addr=mssql-clusterip-srv,1433",
		"the ADO.NET form, all in quotes": `Database="platformsdb";User="SA";Password="pa55 w0rd%";Network Address="mssql-clusterip-srv,1433"`,
		"a URL":                           "sqlserver://SA:pa55%20w0rd%25@mssql-clusterip-srv:1433?database=platformsdb",
	} {
		t.Run("understands "+form, func(t *testing.T) {
			store, err := openStore(url)
			require.NoError(t, err)
			defer store.close()
			config := store.(*sqlServerStore).config
			assert.Equal(t, "mssql-clusterip-srv", config.Host)
			assert.Equal(t, uint64(1433), config.Port)
			assert.Equal(t, "platformsdb", config.Database)
			assert.Equal(t, "SA", config.User)
			assert.Equal(t, password, config.Password)
		})
	}

	t.Run("understands quoted values", func(t *testing.T) {
		store, err := openStore(`Password="a;Server=other;b=""c""";Database=x;Server=right`)
		require.NoError(t, err)
		defer store.close()
		config := store.(*sqlServerStore).config
		assert.Equal(t, "right", config.Host)
		assert.Equal(t, `a;Server=other;b="c"`, config.Password)
	})

	for _, other := range []string{
		"", "foo", "foo;bar", "=", ";", "server", "sqlite:server=x", "platforms.db", "Database=x;User Id=SA",
		"postgres://u:p@h/db", "postgres://h/db?a=b;server=x", "odbc:server=x;database=y", `Password=";Server=x"`,
	} {
		t.Run("leaves alone "+other, func(t *testing.T) { assert.False(t, isSQLServer(other)) })
	}

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
			_, err := openStore(url)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}

	t.Run("an unreachable server is an error without the password", func(t *testing.T) {
		store, err := openStore("sqlserver://SA:s3cret@127.0.0.1:1?database=platformsdb&dial+timeout=1")
		require.NoError(t, err)
		defer store.close()
		err = store.migrate(t.Context())
		require.ErrorContains(t, err, "platformsdb")
		assert.NotContains(t, err.Error(), "s3cret")
		assert.Error(t, store.ping(t.Context()))
	})
}

func TestIsUnavailable(t *testing.T) {
	for _, row := range []struct {
		what string
		err  error
		want bool
	}{
		{"a deadlock", mssql.Error{Number: 1205, Class: 13}, true},
		{"a lock that was not got in time", mssql.Error{Number: 1222, Class: 16}, true},
		{"an update conflict", mssql.Error{Number: 3960, Class: 16}, true},
		{"a full disk", mssql.Error{Number: 1105, Class: 17}, true},
		{"a full log", mssql.Error{Number: 9002, Class: 17}, true},
		{"no memory", mssql.Error{Number: 701, Class: 17}, true},
		{"a shutdown", mssql.Error{Number: 6005, Class: 14}, true},
		{"a fatal error", mssql.Error{Number: 596, Class: 21}, true},
		{"a login that fails", mssql.Error{Number: 18456, Class: 14}, true},
		{"a database that cannot be opened", mssql.Error{Number: 4060, Class: 11}, true},
		{"a connection that is lost", fmt.Errorf("list: %w", io.EOF), true},
		{"a busy Azure SQL", mssql.Error{Number: 40501, Class: 16}, true},
		{"wrapped", fmt.Errorf("create: %w", mssql.Error{Number: 1205}), true},
		{"not the last error", mssql.Error{Number: 3621, All: []mssql.Error{{Number: 1205}, {Number: 3621}}}, true},
		{"a time limit", fmt.Errorf("list: %w", context.DeadlineExceeded), true},
		{"a client that disconnected", fmt.Errorf("list: %w", context.Canceled), false},
		{"a duplicate key", mssql.Error{Number: 2627, Class: 14}, false},
		{"a missing table", mssql.Error{Number: 208, Class: 16, Message: "1205"}, false},
		{"no row", sql.ErrNoRows, false},
		{"no SQL Server error", errors.New("mssql: 1205"), false},
		{"none", nil, false},
	} {
		t.Run(row.what, func(t *testing.T) { assert.Equal(t, row.want, sqlServerUnavailable(row.err)) })
	}

	for what, serve := range map[string]func(net.Conn){
		"a server that hangs up":               func(conn net.Conn) {},
		"a server that hangs up in the middle": func(conn net.Conn) { _, _ = io.ReadFull(conn, make([]byte, 1)) },
	} {
		t.Run(what, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			go func() { // ends when the listener is closed
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					serve(conn)
					conn.Close()
				}
			}()
			defer listener.Close()
			err = openTestSQLServer(t, listener.Addr().String()).ping(t.Context())
			require.Error(t, err)
			assert.True(t, sqlServerUnavailable(err), err)
		})
	}

	t.Run("nothing is listening", func(t *testing.T) {
		err := openTestSQLServer(t, "127.0.0.1:1").ping(t.Context())
		require.Error(t, err)
		assert.True(t, sqlServerUnavailable(err), err)
	})
}

// openTestSQLServer opens the store at addr, and connects to nothing yet.
func openTestSQLServer(t *testing.T, addr string) *sqlServerStore {
	t.Helper()
	store, err := openSQLServer("sqlserver://SA:s3cret@" + addr + "?database=platformsdb&dial+timeout=1")
	require.NoError(t, err)
	t.Cleanup(func() { store.close() })
	return store
}

// TestMissingDatabaseIsSeen: SQL Server responds to a login to a database that
// is missing with two errors, and the driver's error has the number of the last.
func TestMissingDatabaseIsSeen(t *testing.T) {
	err := mssql.Error{Number: 18456, Message: "login error: Login failed for user 'SA'.", All: []mssql.Error{
		{Number: 4060, Message: `Cannot open database "platformsdb" requested by the login. The login failed.`},
		{Number: 18456, Message: "Login failed for user 'SA'."},
	}}
	assert.True(t, isSQLServerError(err, sqlServerCannotOpenDatabase))
	wrongPassword := mssql.Error{Number: 18456, All: []mssql.Error{{Number: 18456}}}
	assert.False(t, isSQLServerError(wrongPassword, sqlServerCannotOpenDatabase))
}
