//go:build exercise

package platformservice

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/pressly/goose/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// oldSchema is a database of the chapter before this exercise, at version 1.
const oldSchema = `
	CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
		is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
	INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);
	CREATE TABLE platforms (id INTEGER PRIMARY KEY AUTOINCREMENT,
		name TEXT NOT NULL, publisher TEXT NOT NULL, cost TEXT NOT NULL);
	INSERT INTO platforms (name, publisher, cost) VALUES ('Redis', 'Redis Ltd.', 'Free'), ('NATS', 'Synadia', 'Free'), ('x', 'p', '1');
	DELETE FROM platforms WHERE id = 3;`

// oldDatabase is a file with that schema.
func oldDatabase(t *testing.T) (cfg Config, db *sql.DB) {
	t.Helper()
	cfg = testConfig(t)
	db, err := sql.Open("sqlite3", "file:"+strings.TrimPrefix(cfg.DatabaseURL, "sqlite:")+"?_busy_timeout=5000")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	_, err = db.Exec(oldSchema)
	require.NoError(t, err)
	return cfg, db
}

// startUpgraded runs a service and returns when it has set up its database.
func startUpgraded(t *testing.T, cfg Config) (service *testService, url string) {
	t.Helper()
	service = startService(t, cfg)
	url = service.url + "/api/platforms"
	var list response
	eventually(t, "a service that has set up its database", func() bool {
		if len(service.stopped) > 0 {
			require.FailNow(t, "the service ended", "%v", receive(t, "the end of Run", service.stopped))
		}
		list = send(t, "GET", url, "")
		return list.status != http.StatusServiceUnavailable
	})
	require.Equal(t, http.StatusOK, list.status, "%v", service.log.lines("level=ERROR"))
	return service, url
}

const withWebsite = `{"name":"Go","publisher":"Google","cost":"Free","website":"https://go.dev"}`

func TestTheWebsiteIsKept(t *testing.T) {
	_, url := startUpgraded(t, testConfig(t))
	const created = `{"id":1,"name":"Go","publisher":"Google","cost":"Free","website":"https://go.dev"}`
	requireJSON(t, send(t, "POST", url, withWebsite), http.StatusCreated, created)
	requireJSON(t, send(t, "GET", url+"/1", ""), http.StatusOK, created)

	// It is optional, and left out of the response when there is none.
	const without = `{"id":2,"name":"x","publisher":"p","cost":"1"}`
	requireJSON(t, send(t, "POST", url, `{"name":"x","publisher":"p","cost":"1"}`), http.StatusCreated, without)
	requireJSON(t, send(t, "GET", url, ""), http.StatusOK, "["+created+","+without+"]")

	// The limit counts characters, not bytes.
	longest := strings.Repeat("ü", maxText)
	r := send(t, "POST", url, `{"name":"x","publisher":"p","cost":"1","website":"`+longest+`"}`)
	require.Equal(t, http.StatusCreated, r.status, "a website of %d characters: %s", maxText, r.body)

	for _, website := range []string{`5`, `"` + strings.Repeat("x", maxText+1) + `"`} {
		body := `{"name":"x","publisher":"p","cost":"1","website":` + website + `}`
		requireProblem(t, send(t, "POST", url, body), http.StatusBadRequest, "website")
	}
}

func TestAnOldDatabaseIsUpgraded(t *testing.T) {
	cfg, _ := oldDatabase(t)
	for i := range 2 { // the second start has nothing to upgrade
		service, url := startUpgraded(t, cfg)
		list := send(t, "GET", url, "").body
		assert.Contains(t, list, `{"id":1,"name":"Redis","publisher":"Redis Ltd.","cost":"Free"},{"id":2,"name":"NATS","publisher":"Synadia","cost":"Free"}`)
		created := send(t, "POST", url, strings.Replace(withWebsite, "Go", fmt.Sprint("Go ", i), 1))
		require.Equal(t, http.StatusCreated, created.status, created.body)
		assert.Contains(t, created.body, "https://go.dev", "the response to a POST with a website")
		assert.NotContains(t, created.body, `"id":3,`, "3 was the id of a platform that was deleted")
		service.stop()
		receive(t, "the end of Run", service.stopped)
	}
}

// While a new version is rolled out, processes of the old one write to the
// upgraded database.
func TestTheOldVersionCanStillWrite(t *testing.T) {
	cfg, db := oldDatabase(t)
	_, url := startUpgraded(t, cfg)
	require.Contains(t, send(t, "POST", url, withWebsite).body, "https://go.dev", "the new version keeps a website")
	_, err := db.Exec(`INSERT INTO platforms (name, publisher, cost) VALUES ('old', 'p', '1')`)
	require.NoError(t, err, "the INSERT of the old version")
	requireJSON(t, send(t, "GET", url+"/5", ""), http.StatusOK, `{"id":5,"name":"old","publisher":"p","cost":"1"}`)
	assert.Contains(t, send(t, "GET", url, "").body, `"name":"old"`)
}

func TestTheMigrationCanBeUndone(t *testing.T) {
	cfg, db := oldDatabase(t)
	files, err := fs.Sub(migrations, "migrations/sqlite")
	require.NoError(t, err)
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files)
	require.NoError(t, err)
	done, err := provider.Up(t.Context())
	require.NoError(t, err)
	require.NotEmpty(t, done, "there is no migration after 00001")
	_, err = provider.DownTo(t.Context(), 1)
	require.NoError(t, err)
	var columns int
	require.NoError(t, db.QueryRow(`SELECT COUNT(*) FROM pragma_table_info('platforms')`).Scan(&columns))
	assert.Equal(t, 4, columns, "columns after the way down")

	_, url := startUpgraded(t, cfg) // and up again
	assert.Equal(t, 2, strings.Count(send(t, "GET", url, "").body, `"id":`))
}

func TestSQLServerHasItToo(t *testing.T) {
	versions := func(dialect string) (names []string) {
		files, err := fs.Glob(migrations, "migrations/"+dialect+"/*.sql")
		require.NoError(t, err)
		for _, file := range files {
			names = append(names, filepath.Base(file)[:5])
		}
		return names
	}
	require.Greater(t, len(versions("sqlserver")), 1, "migrations for SQL Server")
	assert.Equal(t, versions("sqlite"), versions("sqlserver"), "each version has a migration for both databases")

	// Without a server nothing runs these statements. So the text is looked at, for
	// the mistakes that are easily made.
	files, err := fs.Glob(migrations, "migrations/sqlserver/*.sql")
	require.NoError(t, err)
	text, err := fs.ReadFile(migrations, files[len(files)-1])
	require.NoError(t, err)
	up, _, _ := strings.Cut(strings.ToUpper(string(text)), "-- +GOOSE DOWN")
	up = regexp.MustCompile(`(?m)^\s*--.*$`).ReplaceAllString(up, "")
	assert.Regexp(t, `ALTER\s+TABLE\s+(\[?DBO\]?\.)?\[?PLATFORMS\]?\s+ADD\s+\[?WEBSITE`, up, "T-SQL says ALTER TABLE … ADD Website …, without the word COLUMN")
	assert.Regexp(t, `NVARCHAR`, up, "the type of text in SQL Server is nvarchar")
	assert.True(t, strings.Contains(up, "DEFAULT") || !strings.Contains(up, "NOT NULL"), "the INSERT of the old version fails: NOT NULL, and no DEFAULT")

	insert := make(chan string, 1)
	store := &sqlServerStore{db: sql.OpenDB(fakeSQLServer{func(query string, args []driver.NamedValue) ([]driver.Value, error) {
		if strings.Contains(query, "INSERT INTO dbo.Platforms") {
			insert <- fmt.Sprint(args)
			return []driver.Value{int64(1)}, nil
		}
		// Each row has as many columns as the query names, each of them 1.
		columns, _, _ := strings.Cut(query, "FROM")
		row := make([]driver.Value, 1+strings.Count(columns, ","))
		for i := range row {
			row[i] = int64(1)
		}
		return row, nil
	}})}
	defer store.close()
	log, _ := captureLog()
	url := serve(t, newAPI(store, log).handler()) + "/api/platforms"
	requireJSON(t, send(t, "GET", url+"/1", ""), http.StatusOK, `{"id":1,"name":"1","publisher":"1","cost":"1","website":"1"}`)
	require.Equal(t, http.StatusCreated, send(t, "POST", url, withWebsite).status)
	assert.Contains(t, receive(t, "the INSERT", insert), "https://go.dev")

	t.Run("and a real one upgrades an old database", func(t *testing.T) {
		store, err := openSQLServer(sqlServerURL(t)) // or skip
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.createDatabase(t.Context()))
		_, err = store.db.Exec(`
			CREATE TABLE dbo.Platforms (Id int IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Platforms PRIMARY KEY,
				Name nvarchar(max) NOT NULL, Publisher nvarchar(max) NOT NULL, Cost nvarchar(max) NOT NULL);
			INSERT INTO dbo.Platforms VALUES (N'Redis', N'Redis Ltd.', N'Free')`)
		require.NoError(t, err)
		require.NoError(t, store.migrate(t.Context()))
		_, err = store.db.Exec(`INSERT INTO dbo.Platforms (Name, Publisher, Cost) VALUES (N'old', N'p', N'1')`)
		require.NoError(t, err)
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		assert.Len(t, platforms, 2)
	})
}

// fakeSQLServer is a server that only pretends to be one, behind database/sql: it
// is connector, driver connection and statement at once. respond returns the one
// row, if any, with which it responds to a statement.
type fakeSQLServer struct {
	respond func(query string, args []driver.NamedValue) ([]driver.Value, error)
}

func (f fakeSQLServer) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f fakeSQLServer) Driver() driver.Driver                        { return nil }
func (f fakeSQLServer) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (f fakeSQLServer) Begin() (driver.Tx, error)                    { return f, nil }
func (f fakeSQLServer) Commit() error                                { return nil }
func (f fakeSQLServer) Rollback() error                              { return nil }
func (f fakeSQLServer) Close() error                                 { return nil }
func (f fakeSQLServer) CheckNamedValue(*driver.NamedValue) error     { return nil }
func (f fakeSQLServer) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	_, err := f.respond(query, args)
	return driver.RowsAffected(1), err
}
func (f fakeSQLServer) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	row, err := f.respond(query, args)
	return &fakeRow{row}, err
}

type fakeRow struct{ row []driver.Value }

func (r *fakeRow) Columns() []string { return make([]string, len(r.row)) }
func (r *fakeRow) Close() error      { return nil }
func (r *fakeRow) Next(into []driver.Value) error {
	if r.row == nil {
		return io.EOF
	}
	copy(into, r.row)
	r.row = nil
	return nil
}
