// Package e2e tests the services from outside, as a client sees them. It builds
// and starts them; or, with PLATFORMS_URL and COMMANDS_URL set, it uses those that
// run there (with the token in E2E_TOKEN, when they need one) and leaves out the tests
// that stop and start them.
package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// patience bounds how long a test waits for what must happen. It expects no
// speed: a test that passes does not wait that long.
const patience = time.Minute

func TestMain(m *testing.M) {
	code, err := buildAndRun(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func buildAndRun(m *testing.M) (int, error) {
	if os.Getenv("PLATFORMS_URL") != "" {
		return m.Run(), nil
	}
	bin, err := os.MkdirTemp("", "microcomm-e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(bin)
	// With the race detector: a service that has a data race does not end with 0.
	output, err := exec.Command("go", "build", "-buildvcs=false", "-race", "-o", bin+string(filepath.Separator), "../cmd/...").CombinedOutput()
	if err != nil {
		return 1, fmt.Errorf("build the services: %w\n%s", err, output)
	}
	os.Setenv("E2E_BIN", bin)
	forgetSettings()
	return m.Run(), nil
}

// forgetSettings keeps what is exported for other runs, such as an admin port, from the
// services. The tests' own broker stays.
func forgetSettings() {
	prefixes := []string{"PLATFORMS_", "COMMANDS_", "CONSOLE_", "GATEWAY_", "AUTH_", "HTTP_MAX_", "HTTP_RATE_", "LOG_", "OTEL_", "RABBITMQ_", "DATABASE_", "SQLITE_",
		"BACKFILL_", "SEED_DATA", "DRAIN_TIME", "TRUSTED_PROXIES"}
	for _, setting := range os.Environ() {
		name, _, _ := strings.Cut(setting, "=")
		if name != "RABBITMQ_URL" && slices.ContainsFunc(prefixes, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			os.Unsetenv(name)
		}
	}
}

// system is the services that are tested.
type system struct {
	platforms *service
	commands  *service
}

// service is one service: a process that the test started, or one that runs elsewhere.
type service struct {
	name  string
	url   string
	token string   // sent with each request; empty: none is
	env   []string // of the process
	logs  *logBuffer

	process *exec.Cmd     // nil while it does not run
	ended   chan struct{} // closed when the process has ended
	status  error         // what Wait returned; read it after ended
}

// running returns the system, up and ready. With env (NAME=value, for both
// services) it is one of the test's own, which the caller may stop and start.
func running(t *testing.T, env ...string) *system {
	t.Helper()
	if os.Getenv("PLATFORMS_URL") != "" {
		return &system{
			platforms: &service{name: "platformservice", url: os.Getenv("PLATFORMS_URL"), token: os.Getenv("E2E_TOKEN")},
			commands:  &service{name: "commandsservice", url: os.Getenv("COMMANDS_URL"), token: os.Getenv("E2E_TOKEN")},
		}
	}
	s := local(t, env...)
	s.commands.start(t)
	s.platforms.start(t)
	return s
}

// local returns a system of the test's own, not started yet.
func local(t *testing.T, env ...string) *system {
	t.Helper()
	if os.Getenv("PLATFORMS_URL") != "" {
		t.Skip("stops and starts services: not done to those at PLATFORMS_URL")
	}
	addrs := freeAddrs(t, 3)
	name := "e2e-" + rand.Text()
	t.Cleanup(func() { deleteFromBroker(t, name) })
	env = append([]string{
		"PLATFORMS_HTTP_ADDR=" + addrs[0],
		"PLATFORMS_GRPC_ADDR=" + addrs[2],
		"PLATFORMS_GRPC_TARGET=" + addrs[2],
		"COMMANDS_HTTP_ADDR=" + addrs[1],
		"DATABASE_URL=sqlite::memory:",
		"RABBITMQ_EXCHANGE=" + name, // apart from other tests
		"COMMANDS_QUEUE=" + name,
	}, env...)
	return &system{
		platforms: newService(t, "platformservice", "http://"+addrs[0], env),
		commands:  newService(t, "commandsservice", "http://"+addrs[1], env),
	}
}

// deleteFromBroker deletes the exchange of this name and CommandsService's queues.
func deleteFromBroker(t *testing.T, name string) {
	if os.Getenv("RABBITMQ_URL") == "" {
		return
	}
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	defer connection.Close()
	channel, err := connection.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.ExchangeDelete(name, false, false))
	for _, queue := range []string{"", ".dead", ".retry.1s", ".retry.10s", ".retry.1m0s"} {
		_, err := channel.QueueDelete(name+queue, false, false, false)
		require.NoError(t, err)
	}
}

func newService(t *testing.T, name, url string, env []string) *service {
	s := &service{name: name, url: url, env: env, logs: &logBuffer{}}
	t.Cleanup(func() {
		s.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, s.logs)
		}
	})
	return s
}

// freeAddrs returns n addresses of this machine, each with a port that nothing
// uses. The UDP port of the same number stays taken until the test ends, and so no
// other freeAddrs, of another test process either, returns an address twice: its
// service may start late, or be killed and start again.
// The ports lie below those that the system gives to listeners and to connections,
// which would now and then take one before its service does.
func freeAddrs(t *testing.T, n int) []string {
	t.Helper()
	var addrs []string
	for len(addrs) < n {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+mathrand.N(20_000))
		reserved, err := net.ListenPacket("udp", addr)
		if err != nil {
			continue // it is in use
		}
		t.Cleanup(func() { reserved.Close() })
		if listener, err := net.Listen("tcp", addr); err == nil {
			listener.Close()
			addrs = append(addrs, addr)
		}
	}
	return addrs
}

// launch starts the process and does not wait for anything.
func (s *service) launch(t *testing.T) {
	t.Helper()
	name := s.name
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	process := exec.Command(filepath.Join(os.Getenv("E2E_BIN"), name))
	process.Env = append(os.Environ(), s.env...)
	process.Stdout, process.Stderr = s.logs, s.logs
	require.NoError(t, process.Start())
	ended := make(chan struct{})
	s.process, s.ended = process, ended
	go func() { // ends with the process; kill and stop wait for it
		defer close(ended)
		s.status = process.Wait()
	}()
}

// start starts the process and waits until it serves.
func (s *service) start(t *testing.T) {
	t.Helper()
	s.launch(t)
	path := map[string]string{"platformservice": "/api/platforms", "commandsservice": "/api/c/platforms"}[s.name]
	eventually(t, s.name+" serves", func() bool {
		s.requireRunning(t)
		status, _, err := s.send(http.MethodGet, path, "")
		return err == nil && status == http.StatusOK
	})
}

// requireRunning fails the test, with the log, when the process has ended.
func (s *service) requireRunning(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
		require.FailNow(t, s.name+" has ended", "%v\n%s", s.status, s.logs)
	default:
	}
}

// kill ends the process at once, as a crash or kill -9 does.
func (s *service) kill() {
	if s.process == nil {
		return
	}
	_ = s.process.Process.Kill() // fails only if it has ended
	<-s.ended
	s.process = nil
}

// stop asks the process to end, as Ctrl-C does, and returns how it ended.
func (s *service) stop(t *testing.T) error {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no signal that asks another process to end")
	}
	require.NoError(t, s.process.Process.Signal(os.Interrupt))
	select {
	case <-s.ended:
		s.process = nil
		return s.status
	case <-time.After(patience):
		require.FailNow(t, s.name+" does not stop")
		return nil
	}
}

// send sends a request and returns the status and body of the response.
func (s *service) send(method, path, body string) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	request.Host = os.Getenv("E2E_HOST") // when empty, that of the URL
	request.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return response.StatusCode, text, err
}

// call sends a request, requires the status, and decodes the response's body
// into result unless that is nil.
func (s *service) call(t *testing.T, method, path, body string, status int, result any) {
	t.Helper()
	got, text, err := s.send(method, path, body)
	require.NoError(t, err)
	require.Equal(t, status, got, "%s %s: %s", method, path, text)
	if result != nil {
		require.NoError(t, json.Unmarshal(text, result), "%s %s: %s", method, path, text)
	}
}

// eventually waits until condition is true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			require.FailNow(t, "timed out waiting for: "+what)
		}
	}
}

// logBuffer collects what a process prints.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
