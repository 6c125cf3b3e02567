package main

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	_ "github.com/mattn/go-sqlite3" // the driver "sqlite3"
	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"microcomm/final/proto"
)

// A floor is the least that a path needs, written by hand with the bare
// libraries: no validation, no limits, no metrics, no retries.

// serveFloor runs a floor until ctx ends: http FILE MODE, consume FILE, or
// backfill FROM TO.
func serveFloor(ctx context.Context, args []string) error {
	switch {
	case len(args) == 3 && args[0] == "http":
		return httpFloor(ctx, args[1], args[2])
	case len(args) == 2 && args[0] == "consume":
		return consumeFloor(ctx, args[1])
	case len(args) == 3 && args[0] == "backfill":
		return backfillFloor(ctx, args[1], args[2])
	}
	return fmt.Errorf("unknown floor %v", args)
}

func openFloor(file, synchronous string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL&_synchronous="+synchronous)
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`
		CREATE TABLE IF NOT EXISTS platforms (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, publisher TEXT NOT NULL, cost TEXT NOT NULL);
		CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, message_id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
			body BLOB NOT NULL, traceparent TEXT NOT NULL, tracestate TEXT NOT NULL, created_at INTEGER NOT NULL, published_at INTEGER);
		CREATE INDEX IF NOT EXISTS outbox_pending ON outbox (id) WHERE published_at IS NULL`)
	return db, err
}

type row struct {
	ID        int32  `json:"id"`
	Name      string `json:"name"`
	Publisher string `json:"publisher"`
	Cost      string `json:"cost"`
}

// httpFloor is PlatformService's REST API with only net/http and database/sql.
func httpFloor(ctx context.Context, file, synchronous string) error {
	db, err := openFloor(file, synchronous)
	if err != nil {
		return err
	}
	defer db.Close()
	api := &floorAPI{db: db}
	for statement, query := range map[**sql.Stmt]string{
		&api.byID:   `SELECT id, name, publisher, cost FROM platforms WHERE id = ?`,
		&api.all:    `SELECT id, name, publisher, cost FROM platforms ORDER BY id`,
		&api.insert: `INSERT INTO platforms (name, publisher, cost) VALUES (?, ?, ?) RETURNING id`,
		&api.event:  `INSERT INTO outbox (message_id, type, body, traceparent, tracestate, created_at) VALUES (?, 'Platform_Published', ?, '', '', ?)`,
	} {
		if *statement, err = db.Prepare(query); err != nil {
			return err
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/platforms", api.post)
	mux.HandleFunc("GET /api/platforms/{id}", api.get)
	mux.HandleFunc("GET /api/platforms", api.list)
	return listenAndServe(ctx, mux)
}

// floorAPI holds the prepared statements.
type floorAPI struct {
	db                       *sql.DB
	byID, all, insert, event *sql.Stmt
}

func (a *floorAPI) post(w http.ResponseWriter, r *http.Request) {
	p, err := a.create(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(p)
}

// create stores a platform and its event.
func (a *floorAPI) create(r *http.Request) (p row, err error) {
	if err := json.NewDecoder(r.Body).Decode(&p); err != nil {
		return p, err
	}
	tx, err := a.db.BeginTx(r.Context(), nil)
	if err != nil {
		return p, err
	}
	defer tx.Rollback()
	if err := tx.StmtContext(r.Context(), a.insert).QueryRow(p.Name, p.Publisher, p.Cost).Scan(&p.ID); err != nil {
		return p, err
	}
	body, err := json.Marshal(map[string]any{"Id": p.ID, "Name": p.Name, "Event": "Platform_Published"})
	if err != nil {
		return p, err
	}
	if _, err := tx.StmtContext(r.Context(), a.event).Exec(rand.Text(), body, time.Now().UnixMilli()); err != nil {
		return p, err
	}
	return p, tx.Commit()
}

func (a *floorAPI) get(w http.ResponseWriter, r *http.Request) {
	id, _ := strconv.Atoi(r.PathValue("id"))
	var p row
	if err := a.byID.QueryRowContext(r.Context(), id).Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost); err != nil {
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(p)
}

func (a *floorAPI) list(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	list := a.long
	if r.URL.Query().Has("limit") { // it fits into memory
		list = a.short
	}
	if err := list(w, r); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// short writes a list that fits into memory.
func (a *floorAPI) short(w http.ResponseWriter, r *http.Request) error {
	rows, err := a.all.QueryContext(r.Context())
	if err != nil {
		return err
	}
	defer rows.Close()
	list := []row{}
	for rows.Next() {
		var p row
		if err := rows.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost); err != nil {
			return err
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(list)
}

// long writes a list of any length, row by row.
func (a *floorAPI) long(w http.ResponseWriter, r *http.Request) error {
	rows, err := a.all.QueryContext(r.Context())
	if err != nil {
		return err
	}
	defer rows.Close()
	encoder, separator := json.NewEncoder(w), "["
	for rows.Next() {
		var p row
		if err := rows.Scan(&p.ID, &p.Name, &p.Publisher, &p.Cost); err != nil {
			return err
		}
		fmt.Fprint(w, separator)
		separator = ","
		if err := encoder.Encode(p); err != nil {
			return err
		}
	}
	fmt.Fprint(w, "]")
	return rows.Err()
}

func listenAndServe(ctx context.Context, handler http.Handler) error {
	server := &http.Server{Addr: os.Getenv("FLOOR_ADDR"), Handler: handler}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// The prefetch and the batch are those of the service: the events that have arrived share
// one transaction while the next batch is on its way.
const (
	prefetch = 512
	batch    = prefetch / 2
)

// consumeFloor consumes the queue with read-ahead: the events that have arrived share one
// transaction, and one ack.
func consumeFloor(ctx context.Context, file string) error {
	db, err := openCommands(file)
	if err != nil {
		return err
	}
	defer db.Close()
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.Qos(prefetch, 0, false); err != nil {
		return err
	}
	deliveries, err := channel.Consume(os.Getenv("COMMANDS_QUEUE"), "", false, false, false, false, nil)
	if err != nil {
		return err
	}
	ahead := make(chan amqp.Delivery, prefetch)
	go func() { // ends with the connection
		defer close(ahead)
		for d := range deliveries {
			ahead <- d
		}
	}()
	for {
		arrived, err := arrivedTogether(ctx, ahead)
		if err != nil || arrived == nil {
			return err
		}
		if err := storeTogether(ctx, db, arrived); err != nil {
			return err
		}
		if err := arrived[len(arrived)-1].Ack(true); err != nil {
			return err
		}
	}
}

// errEnded is returned when the broker sends no more.
var errEnded = errors.New("deliveries ended")

// arrivedTogether waits for a delivery, and returns it with those that have arrived after
// it, at most a batch. It returns none when ctx has ended.
func arrivedTogether(ctx context.Context, ahead <-chan amqp.Delivery) (arrived []amqp.Delivery, err error) {
	select {
	case <-ctx.Done():
		return nil, nil
	case d, ok := <-ahead:
		if !ok {
			return nil, errEnded
		}
		arrived = append(arrived, d)
	}
	for len(arrived) < batch {
		select {
		case d, ok := <-ahead:
			if !ok {
				return nil, errEnded
			}
			arrived = append(arrived, d)
		default:
			return arrived, nil
		}
	}
	return arrived, nil
}

// storeTogether stores the platforms of events in one transaction.
func storeTogether(ctx context.Context, db *sql.DB, events []amqp.Delivery) error {
	var rows []row
	for _, d := range events {
		var event struct {
			ID   int32 `json:"Id"`
			Name string
		}
		if err := json.Unmarshal(d.Body, &event); err != nil {
			return err
		}
		rows = append(rows, row{ID: event.ID, Name: event.Name})
	}
	if err := insertRows(ctx, db, rows); err != nil {
		return err
	}
	if os.Getenv("LOG_LEVEL") == "info" { // as the service does
		fmt.Fprintf(os.Stderr, "stored id=%d \n", rows[len(rows)-1].ID)
	}
	return nil
}

func openCommands(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL&_synchronous=FULL")
	if err != nil {
		return nil, err
	}
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS platforms (id INTEGER PRIMARY KEY AUTOINCREMENT, external_id INTEGER NOT NULL UNIQUE, name TEXT NOT NULL)`)
	return db, err
}

// insertRows inserts rows with one statement and one commit.
func insertRows(ctx context.Context, db *sql.DB, rows []row) error {
	values := make([]any, 0, 2*len(rows))
	for _, r := range rows {
		values = append(values, r.ID, r.Name)
	}
	_, err := db.ExecContext(ctx, `INSERT INTO platforms (external_id, name) VALUES `+
		strings.TrimSuffix(strings.Repeat("(?, ?),", len(rows)), ",")+
		` ON CONFLICT (external_id) DO UPDATE SET name = excluded.name`, values...)
	return err
}

// backfillFloor streams all platforms of one file into another over gRPC, in
// one process, and ends.
func backfillFloor(ctx context.Context, from, to string) error {
	source, err := openFloor(from, "NORMAL")
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := openCommands(to)
	if err != nil {
		return err
	}
	defer target.Close()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	proto.RegisterGrpcPlatformServer(server, &streamFloor{db: source})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); <-served }()
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	stream, err := proto.NewGrpcPlatformClient(connection).StreamPlatforms(ctx, &proto.StreamPlatformsRequest{})
	if err != nil {
		return err
	}
	var rows []row
	for {
		p, err := stream.Recv()
		if err == nil {
			rows = append(rows, row{ID: p.GetPlatformId(), Name: p.GetName()})
		}
		if len(rows) == 1000 || err != nil && len(rows) > 0 {
			if err := insertRows(ctx, target, rows); err != nil {
				return err
			}
			rows = rows[:0]
		}
		if err != nil {
			return ignoreEOF(err)
		}
	}
}

// streamFloor sends every platform with one query.
type streamFloor struct {
	proto.UnimplementedGrpcPlatformServer
	db *sql.DB
}

// StreamPlatforms implements the call of platforms.proto.
func (s *streamFloor) StreamPlatforms(_ *proto.StreamPlatformsRequest, stream grpc.ServerStreamingServer[proto.GrpcPlatformModel]) error {
	rows, err := s.db.QueryContext(stream.Context(), `SELECT id, name, publisher FROM platforms ORDER BY id`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var p proto.GrpcPlatformModel
		if err := rows.Scan(&p.PlatformId, &p.Name, &p.Publisher); err != nil {
			return err
		}
		if err := stream.Send(&p); err != nil {
			return err
		}
	}
	return rows.Err()
}

func ignoreEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}
