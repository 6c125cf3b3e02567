package api

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // registers the driver "sqlite3"
)

const root = "../../.."

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// service is a service of a stage, in a process and with a database file of its own.
type service struct {
	name     string // platformservice or commandsservice
	url      string
	database string // the file
}

// stages are the folders of the chapters, and final.
func stages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "[0-9][0-9]-*"))
	if err != nil || len(found) == 0 {
		t.Fatal("no stages", err)
	}
	var names []string
	for _, dir := range found {
		names = append(names, filepath.Base(dir))
	}
	return append(names, "final")
}

// has reports whether the stage has that file.
func has(stage, path string) bool {
	_, err := os.Stat(filepath.Join(root, stage, path))
	return err == nil
}

// services are the names of the stage's services.
func services(stage string) []string {
	if has(stage, "commandsservice") {
		return []string{"platformservice", "commandsservice"}
	}
	return []string{"platformservice"}
}

// build builds the services of a stage, and returns the folder with the programs.
func build(t *testing.T, stage string) string {
	t.Helper()
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", dir+string(filepath.Separator))
	for _, name := range services(stage) {
		build.Args = append(build.Args, "./cmd/"+name)
	}
	build.Dir, build.Env = filepath.Join(root, stage), append(os.Environ(), "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", stage, err, text)
	}
	return dir
}

// start starts a service on a free port. It needs no broker, and no other service.
func (s *service) start(t *testing.T, programs string, env ...string) {
	t.Helper()
	free := freeAddresses(t, 3)
	process := exec.CommandContext(t.Context(), filepath.Join(programs, s.name)) // killed before the cleanup that waits for it
	process.Dir, process.Stdout, process.Stderr = filepath.Dir(s.database), t.Output(), t.Output()
	process.Env = append([]string{
		"PLATFORMS_HTTP_ADDR=" + free[0], "PLATFORMS_GRPC_ADDR=" + free[1], "COMMANDS_HTTP_ADDR=" + free[0], "PLATFORMS_GRPC_TARGET=" + free[2],
		"RABBITMQ_URL=amqp://" + free[2] + "/", "COMMANDS_SERVICE_URL=",
		"DATABASE_URL=sqlite:" + s.database, "COMMANDS_DATABASE_URL=sqlite:" + s.database,
	}, env...)
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = process.Wait() })
	s.url = "http://" + free[0]
}

// waitFor waits until a GET of the path has that status.
func (s *service) waitFor(t *testing.T, path string, status int) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	late := time.After(patience)
	for {
		got, err := send(t.Context(), http.MethodGet, s.url+path, nil, "")
		if err == nil && got.status == status {
			return
		}
		select {
		case <-poll.C:
		case <-late:
			t.Fatalf("GET %s: %v, %+v; want %d", path, err, got, status)
		}
	}
}

// lock keeps every other process from writing to the database, until unlock.
func (s *service) lock(t *testing.T) (unlock func()) {
	t.Helper()
	db := s.open(t)
	conn, err := db.Conn(t.Context())
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Error(err)
		}
		conn.Close()
		db.Close()
	})
}

// breakDatabase removes the tables: a fault that no retry can fix.
func (s *service) breakDatabase(t *testing.T) {
	t.Helper()
	db := s.open(t)
	defer db.Close()
	for _, statement := range []string{"DROP TABLE IF EXISTS commands", "DROP TABLE platforms"} {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *service) open(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+s.database+"?_journal_mode=WAL&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// response is a response with its body.
type response struct {
	status int
	header http.Header
	body   []byte
}

// send sends a request, whose header may be nil.
func send(ctx context.Context, method, url string, header http.Header, body string) (response, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	if header != nil {
		request.Header = header
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	got, err := client.Do(request)
	if err != nil {
		return response{}, err
	}
	return readResponse(got)
}

// freeAddresses are loopback addresses that nothing listens on. Their ports lie below
// those that the system gives to listeners and to connections, which would take some
// before the service does.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var free []string
	for len(free) < n {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000)))
		if err != nil {
			continue // it is in use
		}
		defer listener.Close() // at the end, so that no address is given twice
		free = append(free, listener.Addr().String())
	}
	return free
}

// slowly sends a POST whose body stops arriving, and returns the response.
func slowly(ctx context.Context, url string) (response, error) {
	addr, path, _ := strings.Cut(strings.TrimPrefix(url, "http://"), "/")
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return response{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /%s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", path, addr)
	return readRaw(conn)
}
