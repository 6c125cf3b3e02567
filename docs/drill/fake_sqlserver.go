package main

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// fakeSQLServer stands in for a SQL Server with one database, of one of final's
// services. It speaks the protocol, so that the service runs with its real driver,
// and knows the service's statements by their text. Transactions are real: what
// they change is there for others once they are committed, and is forgotten when
// their connection ends; a key that another transaction has inserted is waited for;
// ids are given before the commit. What it does not show is T-SQL, locks and plans.
type fakeSQLServer struct {
	listener net.Listener
	serving  sync.WaitGroup

	mu        sync.Mutex
	changed   sync.Cond // a transaction has ended
	sessions  map[*fakeSession]bool
	deadlocks bool // of the statements that change something, every third is a victim

	versions   [][]any // of goose
	platforms  []fakePlatform
	events     []fakeEvent // that are not published
	keys       map[string]fakeKey
	holders    map[string]*fakeSession // of keys that are not committed
	names      map[int64]string        // CommandsService's platforms
	platformID int64
	eventID    int64
	owner      string // of the lease
	expires    time.Time
}

type fakePlatform struct {
	id                    int64
	name, publisher, cost string
}

type fakeEvent struct {
	id  int64
	row []any
}

type fakeKey struct {
	fingerprint []byte
	platformID  int64
}

// fakeSession is a connection.
type fakeSession struct {
	*fakeSQLServer
	conn    net.Conn
	begun   bool     // a transaction is open
	changes []func() // of it, to be done at the commit
	held    []string // keys
}

func startFakeSQLServer() (*fakeSQLServer, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for SQL Server's clients: %w", err)
	}
	s := &fakeSQLServer{
		listener: listener, sessions: map[*fakeSession]bool{},
		keys: map[string]fakeKey{}, holders: map[string]*fakeSession{}, names: map[int64]string{},
	}
	s.changed.L = &s.mu
	s.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				s.serving.Go(func() { s.serve(conn) })
			}
		}
	})
	return s, nil
}

func (s *fakeSQLServer) address() string { return s.listener.Addr().String() }

func (s *fakeSQLServer) setDeadlocks(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadlocks = on
}

func (s *fakeSQLServer) close() error {
	s.listener.Close()
	s.mu.Lock()
	for session := range s.sessions {
		session.conn.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
	return nil
}

func (s *fakeSQLServer) serve(conn net.Conn) {
	session := &fakeSession{fakeSQLServer: s, conn: conn}
	s.mu.Lock()
	s.sessions[session] = true
	s.mu.Unlock()
	defer func() {
		conn.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		session.end(false)
		delete(s.sessions, session)
	}()
	for {
		request, err := readTDS(conn)
		if err != nil {
			return
		}
		s.mu.Lock()
		response := session.respond(request)
		s.mu.Unlock()
		if _, err := conn.Write(tdsResponse(response)); err != nil {
			return
		}
	}
}

func (s *fakeSession) respond(request tdsRequest) []byte {
	switch request.kind {
	case tdsPrelogin:
		return tdsPreloginResponse()
	case tdsLogin:
		return tdsLoginResponse()
	case tdsTransaction:
		switch kind := request.content().number(2); kind {
		case tdsBegin:
			s.begun = true
			return append(tdsNotice(tdsBegun), tdsDone(0, 0)...)
		case tdsCommit:
			s.end(true)
			return append(tdsNotice(tdsCommitted), tdsDone(0, 0)...)
		case tdsRollback:
			s.end(false)
			return append(tdsNotice(tdsRolledBack), tdsDone(0, 0)...)
		}
	case tdsBatch, tdsRPC:
		rows, changed, err := s.execute(request)
		if err == nil && rows != nil {
			return append(tdsRows(rows), tdsDone(0, len(rows))...)
		}
		if err == nil {
			return tdsDone(0, changed)
		}
		failed, ok := err.(*sqlError)
		if !ok {
			failed = &sqlError{50000, 16, "the fake SQL Server does not know " + err.Error()}
		}
		response := failed.token()
		if failed.number == deadlockVictim && s.begun {
			s.end(false)
			response = append(tdsNotice(tdsRolledBack), response...)
		}
		return append(response, tdsDone(2, 0)...)
	}
	return tdsDone(0x20, 0) // an attention has found nothing to cancel
}

// end ends the transaction, if there is one.
func (s *fakeSession) end(commit bool) {
	if commit {
		for _, change := range s.changes {
			change()
		}
	}
	for _, key := range s.held {
		delete(s.holders, key)
	}
	s.begun, s.changes, s.held = false, nil, nil
	s.changed.Broadcast()
}

// Errors of SQL Server.
const (
	deadlockVictim = 1205
	invalidObject  = 208
	duplicateKey   = 2627
)

// execute does a statement. Rows is nil for one that returns none.
func (s *fakeSession) execute(request tdsRequest) (rows [][]any, changed int, err error) {
	text, args, err := request.statement()
	if err != nil {
		return nil, 0, err
	}
	for _, known := range fakeStatements {
		if !strings.Contains(text, known.part) {
			continue
		}
		if known.writes && s.deadlocks && rand.N(3) == 0 {
			return nil, 0, &sqlError{deadlockVictim, 13, "chosen as the deadlock victim. Rerun the transaction."}
		}
		rows, changed, err = known.do(s, args)
		if !s.begun {
			s.end(err == nil)
		}
		return rows, changed, err
	}
	return nil, 0, fmt.Errorf("the statement %.100q", text)
}

// number and text are arguments of a statement, or zero.
func number(args map[string]any, name string) int64 { n, _ := args["@"+name].(int64); return n }
func text(args map[string]any, name string) string  { s, _ := args["@"+name].(string); return s }
func data(args map[string]any, name string) []byte  { b, _ := args["@"+name].([]byte); return b }

// fakeStatement is a statement of final's services, which part of its text tells.
type fakeStatement struct {
	part   string
	writes bool
	do     func(s *fakeSession, args map[string]any) (rows [][]any, changed int, err error)
}

func nothing(*fakeSession, map[string]any) ([][]any, int, error) { return nil, 0, nil }

func one(*fakeSession, map[string]any) ([][]any, int, error) { return [][]any{{int64(1)}}, 0, nil }

// fakeStatements are in an order in which the first that fits is the right one.
var fakeStatements = []fakeStatement{
	{"select 1", false, one}, // a ping
	{"sp_releaseapplock", false, nothing},
	{"microcomm migrations", false, nothing}, // sp_getapplock

	// Migrations: the tables are there, whatever they say.
	{"CREATE TABLE", false, nothing},
	{"ALTER TABLE", false, nothing},
	{"CREATE INDEX", false, nothing},
	{"SELECT TOP 1 tstamp", false, func(*fakeSession, map[string]any) ([][]any, int, error) {
		return nil, 0, &sqlError{invalidObject, 16, "Invalid object name 'goose_db_version'."}
	}},
	{"INSERT INTO goose_db_version", false, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		s.changes = append(s.changes, func() {
			s.versions = append(s.versions, []any{number(args, "p1"), number(args, "p2")})
		})
		return nil, 1, nil
	}},
	{"SELECT MAX(version_id) FROM goose_db_version", false, func(s *fakeSession, _ map[string]any) ([][]any, int, error) {
		newest := int64(0)
		for _, v := range s.versions {
			newest = max(newest, v[0].(int64))
		}
		return [][]any{{newest}}, 0, nil
	}},
	{"SELECT version_id, is_applied FROM goose_db_version", false, func(s *fakeSession, _ map[string]any) ([][]any, int, error) {
		return append([][]any{}, s.versions...), 0, nil
	}},
	{"INSERT INTO dbo.RelayLease", false, nothing},

	// PlatformService
	{"INSERT INTO dbo.Platforms", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		s.platformID++
		p := fakePlatform{s.platformID, text(args, "name"), text(args, "publisher"), text(args, "cost")}
		s.changes = append(s.changes, func() {
			at, _ := slices.BinarySearchFunc(s.platforms, p, func(a, b fakePlatform) int { return cmp.Compare(a.id, b.id) })
			s.platforms = slices.Insert(s.platforms, at, p)
		})
		return [][]any{{p.id}}, 0, nil
	}},
	{"SELECT TOP (@limit) Id, Name, Publisher, Cost", false, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		rows := [][]any{}
		at, _ := slices.BinarySearchFunc(s.platforms, number(args, "id")+1, func(p fakePlatform, id int64) int { return cmp.Compare(p.id, id) })
		for _, p := range s.platforms[at:min(len(s.platforms), at+int(number(args, "limit")))] {
			rows = append(rows, []any{p.id, p.name, p.publisher, p.cost})
		}
		return rows, 0, nil
	}},
	{"INSERT INTO dbo.IdempotencyKeys", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		key := string(data(args, "key"))
		for s.holders[key] != nil {
			s.changed.Wait()
		}
		if _, there := s.keys[key]; there {
			return nil, 0, &sqlError{duplicateKey, 14, "Violation of PRIMARY KEY constraint 'PK_IdempotencyKeys'."}
		}
		s.holders[key] = s
		s.held = append(s.held, key)
		s.changes = append(s.changes, func() { s.keys[key] = fakeKey{data(args, "fingerprint"), number(args, "id")} })
		return nil, 1, nil
	}},
	{"SELECT Fingerprint, PlatformId", false, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		found, ok := s.keys[string(data(args, "key"))]
		if !ok {
			return [][]any{}, 0, nil
		}
		return [][]any{{found.fingerprint, found.platformID}}, 0, nil
	}},
	{"INSERT INTO dbo.Outbox", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		s.eventID++
		e := fakeEvent{s.eventID, []any{s.eventID, text(args, "id"), text(args, "type"), bytes.Clone(data(args, "body")),
			text(args, "traceparent"), text(args, "tracestate"), time.Now().UnixMilli()}}
		s.changes = append(s.changes, func() {
			at, _ := slices.BinarySearchFunc(s.events, e, func(a, b fakeEvent) int { return cmp.Compare(a.id, b.id) })
			s.events = slices.Insert(s.events, at, e)
		})
		return nil, 1, nil
	}},
	{"SELECT TOP (@limit) Id, MessageId", false, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		rows := [][]any{}
		for _, e := range s.events {
			if e.id > number(args, "after") && len(rows) < int(number(args, "limit")) {
				rows = append(rows, e.row)
			}
		}
		return rows, 0, nil
	}},
	{"UPDATE dbo.Outbox SET PublishedAt", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		var ids []int64
		if err := json.Unmarshal([]byte(text(args, "ids")), &ids); err != nil {
			return nil, 0, err
		}
		s.changes = append(s.changes, func() {
			s.events = slices.DeleteFunc(s.events, func(e fakeEvent) bool { return slices.Contains(ids, e.id) })
		})
		return nil, len(ids), nil
	}},
	{"SELECT (SELECT COUNT(*) FROM dbo.Outbox", false, func(s *fakeSession, _ map[string]any) ([][]any, int, error) {
		return [][]any{{int64(len(s.events)), int64(0)}}, 0, nil
	}},
	{"DELETE", true, nothing}, // what is pruned
	{"UPDATE dbo.RelayLease SET Owner = @owner", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		if owner := text(args, "owner"); owner == s.owner || time.Now().After(s.expires) {
			s.owner, s.expires = owner, time.Now().Add(time.Duration(number(args, "ttl"))*time.Millisecond)
			return nil, 1, nil
		}
		return nil, 0, nil
	}},
	{"UPDATE dbo.RelayLease SET Owner = N''", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		if s.owner == text(args, "owner") {
			s.expires = time.Time{}
		}
		return nil, 1, nil
	}},

	// CommandsService
	{"IIF(OBJECT_ID(N'dbo.Platforms')", false, func(*fakeSession, map[string]any) ([][]any, int, error) {
		return [][]any{{int64(0)}}, 0, nil // another service's tables are not there
	}},
	{"IIF(EXISTS (SELECT 1 FROM dbo.Platforms)", false, one},
	{"microcomm upsert", true, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		var upserted []struct {
			ID   int64
			Name string // its UTF-16 in hexadecimal
		}
		if err := json.Unmarshal([]byte(text(args, "json")), &upserted); err != nil {
			return nil, 0, err
		}
		stored := int64(0)
		for _, row := range upserted {
			name, err := hex.DecodeString(row.Name)
			if err != nil {
				return nil, 0, err
			}
			if known, there := s.names[row.ID]; !there || known != utf16Text(name) {
				stored++
			}
			s.changes = append(s.changes, func() { s.names[row.ID] = utf16Text(name) })
		}
		return [][]any{{stored}}, 0, nil
	}},
	{"SELECT TOP (@limit) ExternalId, Name", false, func(s *fakeSession, args map[string]any) ([][]any, int, error) {
		rows := [][]any{}
		for id, name := range s.names {
			if id > number(args, "id") {
				rows = append(rows, []any{id, name})
			}
		}
		slices.SortFunc(rows, func(a, b []any) int { return cmp.Compare(a[0].(int64), b[0].(int64)) })
		return rows[:min(len(rows), int(number(args, "limit")))], 0, nil
	}},
}
