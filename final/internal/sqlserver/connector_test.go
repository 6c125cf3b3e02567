package sqlserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// tdsServer is as much of a SQL Server as these tests need, without
// encryption, after https://learn.microsoft.com/openspecs/windows_protocols/ms-tds/
type tdsServer struct {
	url     string
	respond func(tdsRequest) []byte // nil: silence from now on
	silent  chan tdsRequest         // what got no response
	logins  atomic.Int32

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// tdsRequest is one request of a client.
type tdsRequest struct {
	kind byte
	text string // its characters; among them the SQL
	conn net.Conn
}

// hangUp ends the connection after last. It is for a respond to return.
func (r tdsRequest) hangUp(last []byte) []byte {
	r.conn.Write(last)
	r.conn.Close()
	return []byte{}
}

// Kinds of request.
const (
	tdsAttention   = 6 // cancels the one before
	tdsTransaction = 14
	tdsLogin       = 16
	tdsPrelogin    = 18
)

// startTDS starts a server that responds with respond until the test ends.
func startTDS(t testing.TB, respond func(tdsRequest) []byte) *tdsServer {
	t.Helper()
	listener, err := net.Listen("tcp", "localhost:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	s := &tdsServer{
		url:     "sqlserver://SA:s3cret@localhost:" + port + "?database=platformsdb",
		respond: respond,
		silent:  make(chan tdsRequest, 100),
		conns:   map[net.Conn]bool{},
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.closeConnections()
		serving.Wait()
	})
	return s
}

// closeConnections does to the clients what a restart of the server does.
func (s *tdsServer) closeConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

func (s *tdsServer) serve(conn net.Conn) {
	defer conn.Close()
	silent := false
	for {
		request, err := readTDS(conn)
		if err != nil {
			return
		}
		if silent {
			continue
		}
		if request.kind == tdsLogin {
			s.logins.Add(1)
		}
		response := s.respond(request)
		if response == nil {
			silent = true
			s.silent <- request
			continue
		}
		if _, err := conn.Write(response); err != nil {
			return
		}
	}
}

// readTDS reads the packets of one request.
func readTDS(from net.Conn) (tdsRequest, error) {
	var body []byte
	for {
		header := make([]byte, 8) // kind, status, length (2), …
		if _, err := io.ReadFull(from, header); err != nil {
			return tdsRequest{}, err
		}
		packet := make([]byte, binary.BigEndian.Uint16(header[2:])-8)
		if _, err := io.ReadFull(from, packet); err != nil {
			return tdsRequest{}, err
		}
		body = append(body, packet...)
		if header[1]&1 != 0 { // the last packet of the request
			// Text is UTF-16. That of these tests is ASCII, so it is left when the NULs are gone.
			text := string(bytes.ReplaceAll(body, []byte{0}, nil))
			return tdsRequest{kind: header[0], text: text, conn: from}, nil
		}
	}
}

// respondTDS responds to every request as a server that is well does.
func respondTDS(r tdsRequest) []byte {
	switch {
	case r.kind == tdsPrelogin:
		return tdsPreloginResponse(2) // encryption is not supported
	case r.kind == tdsLogin:
		ack := append([]byte{1, 0x74, 0, 0, 4, 3}, "f\x00a\x00k\x00"...) // interface, TDS 7.4, name of the server
		ack = append(ack, 16, 0, 0, 0)                                   // its version
		return tdsResponse(tdsToken(0xAD, ack), tdsDone(0))
	case r.kind == tdsAttention:
		return tdsResponse(tdsDone(0x20))
	case r.kind == tdsTransaction:
		began := []byte{8, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0} // a transaction began, and this is its id
		return tdsResponse(tdsToken(0xE3, began), tdsDone(0))
	case strings.Contains(r.text, "INSERT INTO dbo.Platforms"), strings.Contains(r.text, "SELECT COUNT(*)"):
		return tdsResponse(tdsRows(1, 1), tdsDone(0))
	case strings.Contains(r.text, "FROM dbo.Platforms"):
		return tdsResponse(tdsRows(1, 1), tdsDone(0))
	default:
		return tdsResponse(tdsDone(0))
	}
}

// silentTo responds as respondTDS does, but not to requests with this text.
func silentTo(text string) func(tdsRequest) []byte {
	return func(r tdsRequest) []byte {
		if strings.Contains(r.text, text) {
			return nil
		}
		return respondTDS(r)
	}
}

// slowly responds as respondTDS does, but later to requests with this text.
func slowly(text string, after time.Duration) func(tdsRequest) []byte {
	return func(r tdsRequest) []byte {
		if strings.Contains(r.text, text) {
			<-time.After(after)
		}
		return respondTDS(r)
	}
}

// tdsResponse is a response in one packet.

func tdsResponse(tokens ...[]byte) []byte {
	response := tdsUnfinished(tokens...)
	response[1] = 1 // the last packet
	return response
}

// tdsUnfinished is a response that lacks its last packet.
func tdsUnfinished(tokens ...[]byte) []byte {
	body := bytes.Join(tokens, nil)
	packet := []byte{4, 0, 0, 0, 0, 0, 1, 0} // kind, status, length (2), …
	binary.BigEndian.PutUint16(packet[2:], uint16(len(packet)+len(body)))
	return append(packet, body...)
}

// tdsPreloginResponse has one option, 1: encryption, at offset 6, 1 byte long.
func tdsPreloginResponse(encryption byte) []byte {
	return tdsResponse([]byte{1, 0, 6, 0, 1, 0xFF, encryption})
}

func tdsToken(kind byte, body []byte) []byte {
	token := binary.LittleEndian.AppendUint16([]byte{kind}, uint16(len(body)))
	return append(token, body...)
}

func tdsDone(status byte) []byte {
	return append([]byte{0xFD, status}, make([]byte, 11)...)
}

// tdsRows returns rows of as many int columns, the value of each being 1.
func tdsRows(columns, rows int) []byte {
	metadata := []byte{0x81, byte(columns), 0}
	row := []byte{0xD1}
	for range columns {
		metadata = append(metadata, 0, 0, 0, 0, 0, 0, 0x38, 0) // no flags, int, no name
		row = append(row, 1, 0, 0, 0)
	}
	return append(metadata, bytes.Repeat(row, rows)...)
}

// tdsError is an error of SQL Server.
func tdsError(number int32, severity byte) []byte {
	body := binary.LittleEndian.AppendUint32(nil, uint32(number))
	body = append(body, 1, severity)
	body = append(body, make([]byte, 8)...) // no message, server or procedure; line 0
	return tdsResponse(tdsToken(0xAA, body), tdsDone(2))
}

// calls are ways to use a database.
func calls() map[string]func(context.Context, *DB) error {
	return map[string]func(context.Context, *DB) error{
		"ping":   func(ctx context.Context, db *DB) error { return db.PingContext(ctx) },
		"create": func(ctx context.Context, db *DB) error { return db.Create(ctx) },
		"rows": func(ctx context.Context, db *DB) error {
			_, err := ids(ctx, db)
			return err
		},
		"row": func(ctx context.Context, db *DB) error {
			return db.Read(ctx, func() error {
				var id int
				return db.QueryRowContext(ctx, `SELECT Id FROM dbo.Platforms`).Scan(&id)
			})
		},
		"insert": func(ctx context.Context, db *DB) error {
			return db.Write(func() error {
				var id int
				return db.QueryRowContext(ctx, `INSERT INTO dbo.Platforms`).Scan(&id)
			})
		},
		"transaction": func(ctx context.Context, db *DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, `SELECT COUNT(*)`); err != nil {
				return err
			}
			return tx.Commit()
		},
		"lock": func(ctx context.Context, db *DB) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return migrationLock{}.SessionLock(ctx, conn)
		},
	}
}

// ids reads rows.
func ids(ctx context.Context, db *DB) (ids []int, err error) {
	err = db.Read(ctx, func() error {
		ids = nil
		rows, err := db.QueryContext(ctx, `SELECT Id FROM dbo.Platforms`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var id int
			if err := rows.Scan(&id); err != nil {
				return err
			}
			ids = append(ids, id)
		}
		return rows.Err()
	})
	return ids, err
}

// openTDS returns a database of server; nothing has been asked of it.
func openTDS(t testing.TB, url string) *DB {
	t.Helper()
	db, err := Open(url)
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	return db
}

// receiveSoon is receive with less testkit.Patience than the driver has: it waits 5 s
// for a server that does not respond to a cancellation.
func receiveSoon[T any](t testing.TB, what string, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(4500 * time.Millisecond):
		require.FailNow(t, "took too long: "+what)
		panic("not reached")
	}
}

// TestSilentSQLServer: a server that does not respond holds up no caller whose
// context has ended.
func TestSilentSQLServer(t *testing.T) {
	for what, respond := range map[string]func(tdsRequest) []byte{
		"that says nothing": func(tdsRequest) []byte { return nil },
		"that begins TLS and then stays silent": func(r tdsRequest) []byte {
			if r.text[0] == 22 { // a TLS handshake record, inside a prelogin packet
				return nil
			}
			return tdsPreloginResponse(1)
		},
		"that does not respond to the login": func(r tdsRequest) []byte {
			if r.kind == tdsLogin {
				return nil
			}
			return respondTDS(r)
		},
		"that does not respond to a request": func(r tdsRequest) []byte {
			if r.kind != tdsPrelogin && r.kind != tdsLogin {
				return nil
			}
			return respondTDS(r)
		},
	} {
		for call, do := range calls() {
			t.Run(what+", "+call, func(t *testing.T) { testSilence(t, respond, do) })
		}
	}

	t.Run("whose name is not resolved", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		asked := make(chan string, 100)
		defer func(r *net.Resolver) { net.DefaultResolver = r }(net.DefaultResolver)
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, addr string) (net.Conn, error) {
			asked <- addr
			<-ctx.Done()
			return nil, ctx.Err()
		}}
		db := openTDS(t, "sqlserver://SA:s3cret@mssql.invalid?database=platformsdb")
		testEndOfContext(t, db, calls()["ping"], asked)
	})

	t.Run("in the middle of the rows", func(t *testing.T) {
		sent := make(chan struct{}, 1)
		respond := func(r tdsRequest) []byte {
			if !strings.Contains(r.text, "FROM dbo.Platforms") {
				return respondTDS(r)
			}
			defer func() { sent <- struct{}{} }()
			return tdsUnfinished(tdsRows(1, 100))
		}
		testkit.NoGoroutineLeft(t)
		db := openTDS(t, startTDS(t, respond).url)
		testEndOfContext(t, db, calls()["rows"], sent)
	})

	t.Run("at the commit", func(t *testing.T) {
		var requests atomic.Int32
		testSilence(t, func(r tdsRequest) []byte {
			if r.kind == tdsTransaction && requests.Add(1) == 2 {
				return nil
			}
			return respondTDS(r)
		}, calls()["transaction"])
	})

	t.Run("inside a transaction", func(t *testing.T) { testSilence(t, silentTo("SELECT COUNT(*)"), calls()["transaction"]) })
}

func testSilence(t *testing.T, respond func(tdsRequest) []byte, do func(context.Context, *DB) error) {
	testkit.NoGoroutineLeft(t)
	server := startTDS(t, respond)
	testEndOfContext(t, openTDS(t, server.url), do, server.silent)
}

// testEndOfContext checks that do ends when its context does, which is after
// reached.
func testEndOfContext[T any](t *testing.T, db *DB, do func(context.Context, *DB) error, reached <-chan T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	result, closed := make(chan error, 1), make(chan error, 1)
	go func() { result <- do(ctx, db) }()
	testkit.Receive(t, "the request", reached)
	assert.Empty(t, result, "it waits for the server")
	cancel()
	assert.ErrorIs(t, receiveSoon(t, "the call whose context has ended", result), context.Canceled)
	go func() { closed <- db.Close() }()
	assert.NoError(t, receiveSoon(t, "Close", closed))
}

func TestSQLServerTimeouts(t *testing.T) {
	t.Run("a login takes no longer than the URL allows", func(t *testing.T) {
		server := startTDS(t, func(tdsRequest) []byte { return nil })
		err := openTDS(t, server.url+"&connection+timeout=1").PingContext(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, Unavailable(err), err)
	})

	t.Run("a request takes no longer than its context allows", func(t *testing.T) {
		db := openTDS(t, startTDS(t, silentTo("select 1")).url)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		result := make(chan error, 1)
		go func() { result <- db.PingContext(ctx) }()
		err := receiveSoon(t, "ping", result)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, Unavailable(err), err)
	})

	t.Run("the URL's timeout is not that of a request", func(t *testing.T) {
		server := startTDS(t, slowly("INSERT", 1500*time.Millisecond))
		assert.NoError(t, calls()["insert"](t.Context(), openTDS(t, server.url+"&connection+timeout=1")))
	})

	t.Run("the end of a context is not that of the next call", func(t *testing.T) {
		asked := make(chan struct{}, 1)
		insert := slowly("INSERT", 3*cancelTimeout)
		db := openTDS(t, startTDS(t, func(r tdsRequest) []byte {
			if strings.Contains(r.text, "FROM dbo.Platforms") {
				asked <- struct{}{}
				return []byte{} // nothing until it is cancelled
			}
			return insert(r)
		}).url)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error, 1)
		go func() { result <- calls()["row"](ctx, db) }()
		testkit.Receive(t, "the request", asked)
		cancel()
		assert.ErrorIs(t, receiveSoon(t, "the call whose context has ended", result), context.Canceled)
		assert.NoError(t, calls()["insert"](t.Context(), db))
	})

	t.Run("to unlock is not waited for without end", func(t *testing.T) {
		server := startTDS(t, silentTo("sp_releaseapplock"))
		conn, err := openTDS(t, server.url).Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		result := make(chan error, 1)
		go func() { result <- migrationLock{}.SessionUnlock(t.Context(), conn) }() // goose passes no deadline
		assert.ErrorIs(t, testkit.Receive(t, "SessionUnlock", result), context.DeadlineExceeded)
	})
}

// TestSQLServerPool: connections are kept, and there are no more than
// maxConnections of them.
func TestSQLServerPool(t *testing.T) {
	testkit.NoGoroutineLeft(t)
	var busy atomic.Int32
	release := make(chan struct{})
	server := startTDS(t, func(r tdsRequest) []byte {
		if strings.Contains(r.text, "FROM dbo.Platforms") {
			busy.Add(1)
			select {
			case <-release:
			case <-t.Context().Done(): // the test has failed
			}
		}
		return respondTDS(r)
	})
	db := openTDS(t, server.url)
	for range 2 {
		busy.Store(0)
		var running sync.WaitGroup
		for range maxConnections + 8 {
			running.Go(func() {
				assert.NoError(t, calls()["row"](t.Context(), db))
			})
		}
		testkit.Eventually(t, "all connections busy", func() bool { return busy.Load() == maxConnections })
		for range maxConnections + 8 {
			release <- struct{}{}
		}
		running.Wait()
	}
	assert.EqualValues(t, maxConnections, server.logins.Load())
}

// TestResponseIsReadToItsEnd: a row that arrived is no proof that the statement
// succeeded, and a statement must not be cancelled by the one who has its row.
func TestResponseIsReadToItsEnd(t *testing.T) {
	server := startTDS(t, func(r tdsRequest) []byte {
		if !strings.Contains(r.text, "INSERT") {
			return respondTDS(r)
		}
		_, err := r.conn.Write(tdsUnfinished(tdsRows(1, 1)))
		assert.NoError(t, err)
		assert.NoError(t, r.conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		request, err := readTDS(r.conn)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "%v", request)
		assert.NoError(t, r.conn.SetReadDeadline(time.Time{}))
		return tdsError(9002, 17)
	})
	err := calls()["insert"](t.Context(), openTDS(t, server.url))
	assert.True(t, isError(err, 9002), err)
}

// TestLostConnection: after a restart of the server every idle connection is dead.
func TestLostConnection(t *testing.T) {
	// idleDB returns a db with three connections, idle.
	idleDB := func(t *testing.T, server *tdsServer) *DB {
		db := openTDS(t, server.url)
		for range 3 {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			defer conn.Close()
		}
		return db
	}
	count := func(text string, respond func(tdsRequest) []byte) (*atomic.Int32, func(tdsRequest) []byte) {
		var n atomic.Int32
		return &n, func(r tdsRequest) []byte {
			if !strings.Contains(r.text, text) {
				return respondTDS(r)
			}
			n.Add(1)
			return respond(r)
		}
	}
	hangUp := func(r tdsRequest) []byte { return r.hangUp(nil) }

	for _, call := range []string{"rows", "row"} {
		t.Run(call+" does not meet the dead ones", func(t *testing.T) {
			server := startTDS(t, respondTDS)
			db := idleDB(t, server)
			server.closeConnections()
			assert.NoError(t, calls()[call](t.Context(), db))
		})
	}

	t.Run("a write fails once at most, and is not sent twice", func(t *testing.T) {
		sent, respond := count("INSERT INTO dbo.Platforms", respondTDS)
		server := startTDS(t, respond)
		db := idleDB(t, server)
		server.closeConnections()
		want := int32(2)
		if err := calls()["insert"](t.Context(), db); err != nil {
			assert.True(t, Unavailable(err), err)
			want = 1
		}
		require.NoError(t, calls()["insert"](t.Context(), db))
		assert.Equal(t, want, sent.Load())
	})

	t.Run("a write that may have been done is not sent again", func(t *testing.T) {
		sent, respond := count("INSERT", hangUp)
		err := calls()["insert"](t.Context(), openTDS(t, startTDS(t, respond).url))
		assert.True(t, Unavailable(err), err)
		assert.EqualValues(t, 1, sent.Load())
	})

	t.Run("a commit fails only when the server says so and keeps running", func(t *testing.T) {
		for what, row := range map[string]struct {
			commit       func(tdsRequest) []byte
			notConfirmed bool
		}{
			"deadlock victim":         {func(tdsRequest) []byte { return tdsError(1205, 13) }, false},
			"log full":                {func(tdsRequest) []byte { return tdsError(9002, 17) }, false},
			"lost":                    {hangUp, true},
			"silent":                  {func(tdsRequest) []byte { return nil }, true},
			"session killed":          {func(tdsRequest) []byte { return tdsError(596, 21) }, true},
			"fatal error":             {func(tdsRequest) []byte { return tdsError(823, 24) }, true},
			"Azure moves it":          {func(tdsRequest) []byte { return tdsError(40197, 17) }, true},
			"shutdown, and then lost": {func(r tdsRequest) []byte { return r.hangUp(tdsError(6005, 10)) }, true},
		} {
			limit := testkit.Patience
			if what == "silent" { // it ends with the context, which must not end before
				limit = 2 * time.Second
			}
			var requests atomic.Int32
			db := openTDS(t, startTDS(t, func(r tdsRequest) []byte {
				if r.kind == tdsTransaction && requests.Add(1) == 2 {
					return row.commit(r)
				}
				return respondTDS(r)
			}).url)
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			err := calls()["transaction"](ctx, db)
			assert.True(t, Unavailable(err), "%s: %v", what, err)
			assert.Equal(t, row.notConfirmed, errors.Is(err, ErrNotConfirmed), "%s: %v", what, err)
		}
	})

	t.Run("a transaction that is lost before its commit has changed nothing", func(t *testing.T) {
		_, respond := count("SELECT COUNT(*)", hangUp)
		err := calls()["transaction"](t.Context(), openTDS(t, startTDS(t, respond).url))
		assert.True(t, Unavailable(err), err)
		assert.NotErrorIs(t, err, ErrNotConfirmed)
	})

	t.Run("a read is sent twice, not more", func(t *testing.T) {
		sent, respond := count("FROM dbo.Platforms", hangUp)
		err := calls()["row"](t.Context(), openTDS(t, startTDS(t, respond).url))
		assert.True(t, Unavailable(err), err)
		assert.EqualValues(t, 2, sent.Load())
	})

	t.Run("rows that were read before the loss are not read twice", func(t *testing.T) {
		var sent atomic.Int32
		server := startTDS(t, func(r tdsRequest) []byte {
			if strings.Contains(r.text, "FROM dbo.Platforms") && sent.Add(1) == 1 {
				return r.hangUp(tdsUnfinished(tdsRows(1, 3)))
			}
			return respondTDS(r)
		})
		read, err := ids(t.Context(), openTDS(t, server.url))
		require.NoError(t, err)
		assert.Equal(t, []int{1}, read)
	})
}
