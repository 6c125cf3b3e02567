package testkit

import (
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// SQLServerURL returns the URL of a database on the server that SQLSERVER_URL
// names. The database is not there yet; it is dropped when the test ends.
func SQLServerURL(t testing.TB) string {
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
