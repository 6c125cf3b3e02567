package console

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"microcomm/final/internal/testkit"
)

func TestPartsAreSeenDownAndUp(t *testing.T) {
	w, _ := startOneProcess(t)
	proxy := testkit.NewProxy(t, strings.TrimPrefix(w.commands, "http://"))
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "PLATFORMS_URL": w.platforms, "COMMANDS_URL": "http://" + proxy.Addr}, Parts{})
	feed := read(t, url, "")
	assert.NotEmpty(t, feed.part("commandsservice", down).Content.Detail)
	proxy.Restore()
	feed.part("commandsservice", up)

	assert.Less(t, probeInterval+probeTimeout, 2*time.Second, "how long it takes at most")
	for _, fault := range []func(){proxy.Cut, proxy.Stall} { // killed, and paused
		fault()
		feed.part("commandsservice", down)
		proxy.Restore()
		feed.part("commandsservice", up)
	}
}

// A service that isn't ready says why.
func TestDatabaseIsSeenDown(t *testing.T) {
	status := `{"status":"ready","checks":{"database":{"status":"ok"}}}`
	ask := make(chan string, 1)
	ask <- status
	service := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		text := <-ask
		ask <- text
		if !strings.Contains(text, "ready\"") {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write([]byte(text))
	}))
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "PLATFORMS_URL": service, "COMMANDS_URL": "http://localhost:1"}, Parts{})
	feed := read(t, url, "")
	feed.part("platforms-db", up)
	<-ask
	ask <- `{"status":"unavailable","checks":{"database":{"status":"failing","detail":"the disk is full"}}}`
	assert.Equal(t, "the disk is full", feed.part("platforms-db", down).Content.Detail)
	assert.Equal(t, "not ready", feed.part("platformservice", up).Content.Detail)
	<-ask
	ask <- `{"status":"stopping","checks":{}}`
	feed.part("platformservice", "stopping")
	<-ask
	ask <- `<html>`
	feed.part("platformservice", down)
}

func TestReplicasHaveStatesOfTheirOwn(t *testing.T) {
	w, _ := startOneProcess(t)
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "PLATFORMS_URL": w.platforms + ", http://localhost:1", "COMMANDS_URL": w.commands}, Parts{})
	feed := read(t, url, "")
	seen := map[string]string{}
	feed.until("the first up, and the second down", func(l received) bool {
		if l.Subject == "part/platformservice" {
			seen[l.Content.Replica] = l.Content.State
		}
		return maps.Equal(seen, map[string]string{"1": up, "2": down})
	})
}
