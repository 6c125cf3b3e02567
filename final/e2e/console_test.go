package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startConsole starts a console beside s, whose services send their spans to it.
func startConsole(t *testing.T) (s *system, console *service) {
	t.Helper()
	addr := freeAddrs(t, 1)[0]
	s = local(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+addr, "OTEL_BSP_SCHEDULE_DELAY=50", "SEED_DATA=false")
	console = newService(t, "console", "http://"+addr, append(s.platforms.env, "CONSOLE_HTTP_ADDR="+addr,
		"CONSOLE_CONTROL_SECRET="+secret, "PLATFORMS_URL="+s.platforms.url, "COMMANDS_URL="+s.commands.url))
	console.launch(t)
	eventually(t, "the console", func() bool {
		console.requireRunning(t)
		status, _, err := console.send(http.MethodGet, "/readyz", "")
		return err == nil && status == http.StatusOK
	})
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)
	return s, console
}

// shows waits until the feed has a line in which all of these texts are.
func (s *service) shows(t *testing.T, texts ...string) {
	t.Helper()
	eventually(t, strings.Join(texts, ", "), func() bool {
		_, feed, _ := s.send(http.MethodGet, "/feed?format=ndjson", "")
		for line := range strings.Lines(string(feed)) {
			missing := ""
			for _, text := range texts {
				if !strings.Contains(line, text) {
					missing = text
				}
			}
			if missing == "" {
				return true
			}
		}
		return false
	})
}

func TestConsoleShowsTheSystem(t *testing.T) {
	requireBroker(t)
	s, console := startConsole(t)
	id := createPlatform(t, s, "Docker").ID
	subject := fmt.Sprintf(`"subject":"platform/%d"`, id)
	for _, hop := range []string{"accepted", "outbox", "relay", "confirmed", "delivered", "stored", "acknowledged"} {
		console.shows(t, subject, `"hop":"`+hop+`"`, `"name":"Docker"`)
	}
	console.shows(t, `"subject":"list/commands"`, "Docker")
	console.shows(t, `"subject":"part/commandsservice"`, `"up"`)
	s.commands.kill()
	console.shows(t, `"subject":"part/commandsservice"`, `"down"`)
	assert.NotContains(t, console.logs.String(), secret)
}

// Nothing depends on the console.
func TestServicesDoWithoutTheConsole(t *testing.T) {
	requireBroker(t)
	s, console := startConsole(t)

	response, err := http.Get(console.url + "/feed") // held open
	require.NoError(t, err)
	defer response.Body.Close()
	feed := bufio.NewReader(response.Body)
	first, err := feed.ReadString('\n')
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(first, "id: "))
	require.NoError(t, console.stop(t))
	_, err = io.Copy(io.Discard, feed)
	assert.NoError(t, err, "the console ends a feed: it would have to cut off one that held it up")

	id := createPlatform(t, s, "Podman").ID
	eventually(t, "the event arrives", func() bool {
		status, body, err := s.commands.send(http.MethodGet, "/api/c/platforms", "")
		var platforms []struct{ ID int32 }
		return err == nil && status == http.StatusOK && json.Unmarshal(body, &platforms) == nil &&
			len(platforms) == 1 && platforms[0].ID == id
	})
	require.NoError(t, s.platforms.stop(t))
	require.NoError(t, s.commands.stop(t))
}
