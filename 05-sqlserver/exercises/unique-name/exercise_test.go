//go:build exercise

package platformservice

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startUnique runs a service and returns when it has set up its database.
func startUnique(t *testing.T, cfg Config) (service *testService, url string) {
	t.Helper()
	service = startService(t, cfg)
	url = service.url + "/api/platforms"
	eventually(t, "a service that has set up its database", func() bool {
		if len(service.stopped) > 0 {
			require.FailNow(t, "the service ended", "%v", receive(t, "the end of Run", service.stopped))
		}
		return send(t, "GET", url, "").status == http.StatusOK
	})
	return service, url
}

// postName creates a platform of this name.
func postName(t *testing.T, url, name string) response {
	t.Helper()
	return send(t, "POST", url, fmt.Sprintf(`{"name":%q,"publisher":"p","cost":"1"}`, name))
}

// requireTaken requires a response to be the problem for a name that is taken.
func requireTaken(t *testing.T, r response) {
	t.Helper()
	require.Equal(t, http.StatusConflict, r.status, "a name that is taken: %s", r.body)
	assert.Equal(t, "application/problem+json", r.header.Get("Content-Type"))
	var p problem
	require.NoError(t, json.Unmarshal([]byte(r.body), &p), r.body)
	assert.Equal(t, http.StatusConflict, p.Status)
	assert.Contains(t, r.body, "name", "the problem says what is taken")
	for _, internal := range []string{"constraint", "sql"} {
		assert.NotContains(t, strings.ToLower(r.body), internal, "the database's own text is for the log")
	}
}

// requireNames requires the platforms to have these names, in id order.
func requireNames(t *testing.T, url string, names ...string) {
	t.Helper()
	var platforms []struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(send(t, "GET", url, "").body), &platforms))
	var got []string
	for _, p := range platforms {
		got = append(got, p.Name)
	}
	require.Equal(t, names, got)
}

func TestANameIsTakenOnce(t *testing.T) {
	service, url := startUnique(t, testConfig(t))
	require.Equal(t, http.StatusCreated, postName(t, url, "Redis").status)
	requireTaken(t, postName(t, url, "Redis"))
	for _, other := range []string{"redis", "Redis ", "Redis 8"} { // text is data: these are other names
		require.Equal(t, http.StatusCreated, postName(t, url, other).status, other)
	}
	requireNames(t, url, "Redis", "redis", "Redis ", "Redis 8")
	assert.Empty(t, service.log.lines("level=ERROR"), "what a client did wrong is not the service's error")
}

// To look for the name first and insert it then is two steps, and others come
// between: here the database is locked until all have looked.
func TestOfManyAtOnceOneIsCreated(t *testing.T) {
	const many = 12
	file := filepath.Join(t.TempDir(), "platforms.db")
	store := openTestStore(t, "sqlite:"+file)
	log, _ := captureLog()
	url := serve(t, newAPI(store, log).handler()) + "/api/platforms"
	other, err := sql.Open("sqlite3", "file:"+file+"?_txlock=immediate")
	require.NoError(t, err)
	defer other.Close()
	lock, err := other.Begin()
	require.NoError(t, err)

	statuses := make(chan int, many)
	for range many {
		go func() { statuses <- postName(t, url, "Redis").status }()
	}
	eventually(t, "all POSTs are at the locked database", func() bool {
		return store.(*sqliteStore).db.Stats().InUse == many || len(statuses) > 0
	})
	require.NoError(t, lock.Rollback())
	got := map[int]int{}
	for range many {
		got[receive(t, "the response to a POST", statuses)]++
	}
	want := map[int]int{http.StatusCreated: 1, http.StatusConflict: many - 1}
	require.Equal(t, want, got, "how many of %d POSTs of one name at once got each status", many)
	requireNames(t, url, "Redis")
}

func TestTheSeedSurvives(t *testing.T) {
	cfg := testConfig(t)
	cfg.Seed = true
	for range 2 { // the second start finds it seeded
		service, url := startUnique(t, cfg)
		requireNames(t, url, "Dot Net", "SQL Server Express", "Kubernetes")
		requireTaken(t, postName(t, url, "Kubernetes"))
		service.stop()
		receive(t, "the end of Run", service.stopped)
	}
}

// Databases were written without the rule. None of their platforms is lost: the
// first of a name keeps it, the others get names of their own.
func TestOldDuplicatesAreKept(t *testing.T) {
	cfg := testConfig(t)
	db, err := sql.Open("sqlite3", strings.TrimPrefix(cfg.DatabaseURL, "sqlite:"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(`
		CREATE TABLE goose_db_version (id INTEGER PRIMARY KEY AUTOINCREMENT, version_id INTEGER NOT NULL,
			is_applied INTEGER NOT NULL, tstamp TIMESTAMP DEFAULT (datetime('now')));
		INSERT INTO goose_db_version (version_id, is_applied) VALUES (0, 1), (1, 1);
		CREATE TABLE platforms (id INTEGER PRIMARY KEY AUTOINCREMENT,
			name TEXT NOT NULL, publisher TEXT NOT NULL, cost TEXT NOT NULL);
		INSERT INTO platforms (name, publisher, cost) VALUES
			('Redis', 'p1', '1'), ('NATS', 'p2', '2'), ('Redis', 'p3', '3'), ('Redis', 'p4', '4');`)
	require.NoError(t, err)

	_, url := startUnique(t, cfg)
	requireTaken(t, postName(t, url, "Redis"))
	requireTaken(t, postName(t, url, "NATS"))
	var platforms []struct{ Name, Publisher, Cost string }
	require.NoError(t, json.Unmarshal([]byte(send(t, "GET", url, "").body), &platforms))
	require.Len(t, platforms, 4, "no platform is lost")
	names := map[string]bool{}
	for i, p := range platforms {
		names[p.Name] = true
		assert.Equal(t, fmt.Sprint("p", i+1), p.Publisher)
		assert.Equal(t, fmt.Sprint(i+1), p.Cost)
	}
	assert.Len(t, names, 4, "each has a name of its own")
	assert.Equal(t, "Redis", platforms[0].Name, "the first keeps the name")
	assert.Equal(t, "NATS", platforms[1].Name)
}

func TestSQLServerHasTheRuleToo(t *testing.T) {
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
	// the mistake that is easily made.
	files, err := fs.Glob(migrations, "migrations/sqlserver/*.sql")
	require.NoError(t, err)
	text, err := fs.ReadFile(migrations, files[len(files)-1])
	require.NoError(t, err)
	up, _, _ := strings.Cut(strings.ToUpper(string(text)), "-- +GOOSE DOWN")
	up = regexp.MustCompile(`(?m)^\s*--.*$`).ReplaceAllString(up, "")
	if !strings.Contains(up, "ALTER COLUMN") {
		assert.NotRegexp(t, `(INDEX[^;]*\sON\s[^;(]*|UNIQUE[^;(]*)\(\s*\[?NAME\]?(\s+ASC)?\s*\)`, up, "Name is nvarchar(max), which SQL Server puts into no index")
	}

	// A server that finds every key in its unique index.
	store := &sqlServerStore{db: sql.OpenDB(fakeSQLServer{func(query string, _ []driver.NamedValue) ([]driver.Value, error) {
		if strings.Contains(query, "INSERT INTO dbo.Platforms") {
			return nil, mssql.Error{Number: 2601, Class: 14}
		}
		return nil, nil
	}})}
	defer store.close()
	log, logged := captureLog()
	url := serve(t, newAPI(store, log).handler()) + "/api/platforms"
	requireTaken(t, postName(t, url, "Redis"))
	assert.Empty(t, logged.lines("level=ERROR"))

	t.Run("and a real one enforces it", func(t *testing.T) {
		store, err := openSQLServer(sqlServerURL(t)) // or skip
		require.NoError(t, err)
		defer store.close()
		require.NoError(t, store.createDatabase(t.Context()))
		_, err = store.db.Exec(`
			CREATE TABLE dbo.Platforms (Id int IDENTITY(1, 1) NOT NULL CONSTRAINT PK_Platforms PRIMARY KEY,
				Name nvarchar(max) NOT NULL, Publisher nvarchar(max) NOT NULL, Cost nvarchar(max) NOT NULL);
			INSERT INTO dbo.Platforms VALUES (N'Redis', N'p', N'1'), (N'redis', N'p', N'1'), (N'Redis', N'p', N'1')`)
		require.NoError(t, err)
		require.NoError(t, store.migrate(t.Context()))
		log, _ := captureLog()
		url := serve(t, newAPI(store, log).handler()) + "/api/platforms"
		requireTaken(t, postName(t, url, "Redis"))
		require.Equal(t, http.StatusCreated, postName(t, url, "Redis ").status)
		longest := strings.Repeat("😀", maxText)
		require.Equal(t, http.StatusCreated, postName(t, url, longest).status)
		requireTaken(t, postName(t, url, longest))
		platforms, err := store.platforms(t.Context())
		require.NoError(t, err)
		require.Len(t, platforms, 5)
		assert.Equal(t, "Redis", platforms[0].Name)
		assert.Equal(t, "redis", platforms[1].Name)
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
