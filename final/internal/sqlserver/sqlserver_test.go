package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOpen(t *testing.T) {
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
			assert.True(t, IsURL(url))
			config := openTDS(t, url).config
			assert.Equal(t, "mssql-clusterip-srv", config.Host)
			assert.Equal(t, uint64(1433), config.Port)
			assert.Equal(t, "platformsdb", config.Database)
			assert.Equal(t, "SA", config.User)
			assert.Equal(t, password, config.Password)
		})
	}

	t.Run("understands quoted values", func(t *testing.T) {
		config := openTDS(t, `Password="a;Server=other;b=""c""";Database=x;Server=right`).config
		assert.Equal(t, "right", config.Host)
		assert.Equal(t, `a;Server=other;b="c"`, config.Password)
	})

	for _, other := range []string{
		"", "foo", "foo;bar", "=", ";", "server", "sqlite:server=x", "platforms.db", "Database=x;User Id=SA",
		"postgres://u:p@h/db", "postgres://h/db?a=b;server=x", "odbc:server=x;database=y", `Password=";Server=x"`,
	} {
		t.Run("leaves alone "+other, func(t *testing.T) { assert.False(t, IsURL(other)) })
	}

	for what, url := range map[string]string{
		"a URL without a database":              "sqlserver://SA:s3cret@localhost:1433",
		"an ADO.NET form without a database":    "Server=localhost;User Id=SA;Password=s3cret",
		"a URL that cannot be parsed":           "sqlserver://SA:s3cret%@localhost:1433?database=x",
		"a port that is no number":              "sqlserver://SA:s3cret@localhost:x?database=x",
		"an ADO.NET form with a port too large": "Server=localhost,99999;Database=x;User Id=SA;Password=s3cret",
	} {
		t.Run("refuses "+what+" without showing the password", func(t *testing.T) {
			_, err := Open(url)
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "s3cret")
		})
	}

	t.Run("an unreachable server is an error without the password", func(t *testing.T) {
		db := openTDS(t, "sqlserver://SA:s3cret@127.0.0.1:1?database=platformsdb&dial+timeout=1")
		err := db.Create(t.Context())
		require.ErrorContains(t, err, "platformsdb")
		assert.NotContains(t, err.Error(), "s3cret")
		assert.Error(t, db.PingContext(t.Context()))
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
		t.Run(row.what, func(t *testing.T) { assert.Equal(t, row.want, Unavailable(row.err)) })
	}

	for what, respond := range map[string]func(tdsRequest) []byte{
		"a server that hangs up":     func(r tdsRequest) []byte { return r.hangUp(nil) },
		"a server that breaks TLS":   func(r tdsRequest) []byte { return tdsPreloginResponse(1) },
		"a login that fails":         failingLogin(18456, 14),
		"a database that is offline": failingLogin(4060, 11),
		"a database that starts":     failingLogin(40613, 17),
		"a request that is refused": func(r tdsRequest) []byte {
			if r.kind == tdsLogin || r.kind == tdsPrelogin {
				return respondTDS(r)
			}
			return tdsError(1105, 17)
		},
	} {
		t.Run(what, func(t *testing.T) {
			db := openTDS(t, startTDS(t, respond).url)
			for call, do := range calls() {
				err := do(t.Context(), db)
				require.Error(t, err, call)
				assert.True(t, Unavailable(err), "%s: %v", call, err)
			}
		})
	}

	t.Run("nothing is listening", func(t *testing.T) {
		err := openTDS(t, "sqlserver://SA:s3cret@127.0.0.1:1?database=platformsdb").PingContext(t.Context())
		require.Error(t, err)
		assert.True(t, Unavailable(err), err)
	})

	t.Run("an error that is the request's own", func(t *testing.T) {
		db := openTDS(t, startTDS(t, func(r tdsRequest) []byte {
			if strings.Contains(r.text, "FROM dbo.Platforms") {
				return tdsError(208, 16)
			}
			return respondTDS(r)
		}).url)
		_, err := ids(t.Context(), db)
		require.True(t, isError(err, 208), err)
		assert.False(t, Unavailable(err))
	})
}

func failingLogin(number int32, severity byte) func(tdsRequest) []byte {
	return func(r tdsRequest) []byte {
		if r.kind == tdsLogin {
			return tdsError(number, severity)
		}
		return respondTDS(r)
	}
}

// TestMissingDatabaseIsSeen: SQL Server responds to a login to a database that
// is missing with two errors, and the driver's error has the number of the last.
func TestMissingDatabaseIsSeen(t *testing.T) {
	err := mssql.Error{Number: 18456, Message: "login error: Login failed for user 'SA'.", All: []mssql.Error{
		{Number: 4060, Message: `Cannot open database "platformsdb" requested by the login. The login failed.`},
		{Number: 18456, Message: "Login failed for user 'SA'."},
	}}
	assert.True(t, isError(err, cannotOpenDatabase))
	wrongPassword := mssql.Error{Number: 18456, All: []mssql.Error{{Number: 18456}}}
	assert.False(t, isError(wrongPassword, cannotOpenDatabase))
}
