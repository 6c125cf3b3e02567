//go:build exercise

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// startAudit starts an AuditService beside the system, and returns when it
// serves. Its log is shown when the test fails.
func startAudit(t *testing.T, s *system, env ...string) *service {
	t.Helper()
	binary, err := filepath.Glob(filepath.Join(os.Getenv("E2E_BIN"), "auditservice*"))
	require.NoError(t, err)
	require.NotEmpty(t, binary, "there is no program cmd/auditservice yet")
	addr := freeAddrs(t, 1)[0]
	env = append(append([]string{"AUDIT_HTTP_ADDR=" + addr}, s.commands.env...), env...)
	audit := newService(t, "auditservice", "http://"+addr, env)
	audit.launch(t)
	eventually(t, "AuditService responds to GET /api/audit", func() bool {
		audit.requireRunning(t)
		status, _, err := audit.send(http.MethodGet, "/api/audit", "")
		return err == nil && status == http.StatusOK
	})
	return audit
}

// counts returns what AuditService has counted, by type of event.
func counts(t *testing.T, audit *service) map[string]int {
	t.Helper()
	audit.requireRunning(t)
	var byType map[string]int
	audit.call(t, http.MethodGet, "/api/audit", "", http.StatusOK, &byType)
	return byType
}

// publish sends the events, as another service would. The exchange must be there.
func publish(t *testing.T, events ...string) {
	t.Helper()
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	defer connection.Close()
	channel, err := connection.Channel()
	require.NoError(t, err)
	for _, body := range events {
		require.NoError(t, channel.Publish("e2e-"+t.Name(), "", false, false, amqp.Publishing{Body: []byte(body)}))
	}
	require.NoError(t, channel.Close()) // a round trip: the broker has them
}

// waitReceives returns when AuditService receives events.
func waitReceives(t *testing.T, audit *service) {
	t.Helper()
	before := counts(t, audit)["Probe"]
	eventually(t, "AuditService counts an event", func() bool {
		publish(t, `{"Event":"Probe"}`)
		return counts(t, audit)["Probe"] > before
	})
}

func TestBothGetEveryEvent(t *testing.T) {
	s := busOnly(t)
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)
	audit := startAudit(t, s)
	waitReceives(t, audit)

	var created []platform
	for i := range 10 {
		created = append(created, createPlatform(t, s, fmt.Sprint("Platform ", i)))
	}
	for _, p := range created {
		eventually(t, p.Name+" in CommandsService", func() bool { return s.knows(p.ID) })
	}
	eventually(t, "10 events in AuditService", func() bool { return counts(t, audit)["Platform_Published"] == 10 })
	require.NoError(t, audit.stop(t))
}

// Services that import each other can only be released together.
func TestAuditImportsNoOtherService(t *testing.T) {
	list := exec.Command("go", "list", "-deps", "../cmd/auditservice")
	output, err := list.CombinedOutput()
	require.NoError(t, err, "there is no program cmd/auditservice yet: %s", output)
	for _, other := range []string{"microcomm/06-rabbitmq/commandsservice", "microcomm/06-rabbitmq/platformservice"} {
		require.False(t, slices.Contains(strings.Fields(string(output)), other), "it imports %s: a service imports no other, copy what you need", other)
	}
}

func TestAuditCountsByType(t *testing.T) {
	s := busOnly(t)
	s.platforms.start(t) // declares the exchange
	s.platforms.connected(t, 0)
	audit := startAudit(t, s)
	waitReceives(t, audit)
	publish(t, `{"Id":1,"Name":"x","Event":"Platform_Published"}`, `{"Id":1,"Event":"Platform_Renamed"}`, "no JSON", "{}", "",
		`{"Id":2,"Event":"Platform_Renamed"}`, `{"Event":"The_End"}`)
	eventually(t, "the last event", func() bool { return counts(t, audit)["The_End"] == 1 })
	byType := counts(t, audit)
	delete(byType, "Probe")
	require.Equal(t, map[string]int{"Platform_Published": 1, "Platform_Renamed": 2, "The_End": 1}, byType)
}

func TestAuditConnectsAgain(t *testing.T) {
	s := busOnly(t)
	s.platforms.start(t) // declares the exchange
	s.platforms.connected(t, 0)
	broker, err := url.Parse(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	target := broker.Host
	if broker.Port() == "" {
		target = net.JoinHostPort(target, "5672")
	}
	broker.Host = freeAddrs(t, 1)[0] // nothing is listening there yet
	audit := startAudit(t, s, "RABBITMQ_URL="+broker.String())
	for range 2 {
		cut := forward(t, broker.Host, target)
		waitReceives(t, audit)
		cut()
	}
}

// forward connects clients of addr with target, until cut is called.
func forward(t *testing.T, addr, target string) (cut func()) {
	t.Helper()
	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	var mu sync.Mutex
	var conns []net.Conn
	down := false
	var running sync.WaitGroup
	running.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				continue
			}
			mu.Lock()
			conns = append(conns, client, server)
			if down { // since a moment ago
				client.Close()
				server.Close()
			}
			mu.Unlock()
			running.Go(func() { _, _ = io.Copy(server, client); server.Close() })
			running.Go(func() { _, _ = io.Copy(client, server); client.Close() })
		}
	})
	cut = sync.OnceFunc(func() {
		listener.Close()
		mu.Lock()
		down = true
		for _, conn := range conns {
			conn.Close()
		}
		mu.Unlock()
		running.Wait()
	})
	t.Cleanup(cut)
	return cut
}
