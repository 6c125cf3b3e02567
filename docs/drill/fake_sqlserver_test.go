package main

import (
	"context"
	"database/sql"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
)

// openFake starts a fake SQL Server and connects to it with the real driver.
func openFake(t *testing.T) (*fakeSQLServer, *sql.DB) {
	t.Helper()
	server, err := startFakeSQLServer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.close() })
	db, err := sql.Open("sqlserver", server.url(""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return server, db
}

const (
	insertPlatform = `INSERT INTO dbo.Platforms (Name, Publisher, Cost) OUTPUT inserted.Id VALUES (@name, @publisher, @cost)`
	insertKey      = `INSERT INTO dbo.IdempotencyKeys (IdempotencyKey, Fingerprint, PlatformId) VALUES (@key, @fingerprint, @id)`
	listPlatforms  = `SELECT TOP (@limit) Id, Name, Publisher, Cost FROM dbo.Platforms WHERE Id > @id ORDER BY Id`
)

func insert(t *testing.T, tx *sql.Tx, name string) (id int, err error) {
	t.Helper()
	err = tx.QueryRowContext(t.Context(), insertPlatform,
		sql.Named("name", name), sql.Named("publisher", ""), sql.Named("cost", "1")).Scan(&id)
	return id, err
}

func begin(t *testing.T, db *sql.DB) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tx.Rollback() }) // does nothing after Commit
	return tx
}

func namesIn(t *testing.T, db *sql.DB) (names []string) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), listPlatforms, sql.Named("limit", 1000), sql.Named("id", 0))
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int
		var name, publisher, cost string
		if err := rows.Scan(&id, &name, &publisher, &cost); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestFakeSQLServerShowsWhatIsCommitted(t *testing.T) {
	_, db := openFake(t)
	first, second := begin(t, db), begin(t, db)
	for _, add := range []struct {
		tx   *sql.Tx
		name string
	}{{first, "rolled back"}, {second, "Größe 🙂"}} {
		if _, err := insert(t, add.tx, add.name); err != nil {
			t.Fatal(err)
		}
	}
	if names := namesIn(t, db); len(names) != 0 {
		t.Errorf("got %q before the commit", names)
	}
	if err := second.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := first.Rollback(); err != nil {
		t.Fatal(err)
	}
	if names := namesIn(t, db); len(names) != 1 || names[0] != "Größe 🙂" {
		t.Errorf("got %q, want what was committed", names)
	}
}

func TestFakeSQLServerForgetsATransactionWhoseConnectionEnds(t *testing.T) {
	server, db := openFake(t)
	network, err := newProxy(server.address())
	if err != nil {
		t.Fatal(err)
	}
	defer network.close()
	through, err := sql.Open("sqlserver", server.url(network.address()))
	if err != nil {
		t.Fatal(err)
	}
	defer through.Close()
	cut, waiting := begin(t, through), begin(t, db)
	key := func(tx *sql.Tx) error {
		_, err := tx.ExecContext(t.Context(), insertKey, sql.Named("key", []byte("k")), sql.Named("fingerprint", []byte{1}), sql.Named("id", 1))
		return err
	}
	if err := key(cut); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- key(waiting) }()
	select {
	case err := <-done:
		t.Fatalf("a key that another transaction has inserted was not waited for: %v", err)
	case <-time.After(50 * time.Millisecond): // it may come too late to be seen, but never fails wrongly
	}
	network.set(networkState{cut: true})
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := waiting.Commit(); err != nil {
		t.Error(err)
	}
	if err := key(begin(t, db)); !isSQLError(err, duplicateKey) {
		t.Errorf("got %v, want a duplicate key", err)
	}
}

func TestFakeSQLServerRollsBackTheVictimOfADeadlock(t *testing.T) {
	server, db := openFake(t)
	server.setDeadlocks(true)
	stored := 0
	for range 100 {
		tx, err := db.BeginTx(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = insert(t, tx, "first")
		if err == nil {
			_, err = insert(t, tx, "second")
		}
		if err == nil {
			err = tx.Commit()
		} else if !isSQLError(err, deadlockVictim) {
			t.Fatal(err)
		}
		if err == nil {
			stored++
		}
		_ = tx.Rollback() // of a victim there is nothing left to roll back
	}
	if names := namesIn(t, db); stored == 0 || stored == 100 || len(names) != 2*stored {
		t.Errorf("got %d rows of %d transactions out of 100", len(names), stored)
	}
}

func TestFakeSQLServerRefusesWhatItDoesNotKnow(t *testing.T) {
	_, db := openFake(t)
	if _, err := db.ExecContext(t.Context(), `UPDATE dbo.Platforms SET Name = N''`); !isSQLError(err, 50000) {
		t.Errorf("got %v, want an error", err)
	}
}

func isSQLError(err error, number int32) bool {
	e, ok := err.(mssql.Error)
	return ok && e.Number == number
}
