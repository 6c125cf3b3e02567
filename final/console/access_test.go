package console

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/testkit"
)

// startGuarded runs both services and a console, all with access control.
func startGuarded(t *testing.T, settings map[string]string) (url string, token func(scope string) string) {
	t.Helper()
	issuer, key := testkit.NewIssuer(t), testkit.NewKey(t, "first", "EdDSA")
	issuer.Publish(key)
	token = func(scope string) string { return testkit.Sign(t, key, issuer.Claims("ann", scope), nil) }
	access := map[string]string{"AUTH_ISSUER": issuer.URL, "AUTH_AUDIENCE": testkit.Audience, "SEED_DATA": "true"}
	memory := &bus.Memory{}
	w := startServices(t, memory, memory.Subscriber("commands"), access, func(string) *sdktrace.TracerProvider { return sdktrace.NewTracerProvider() })
	access["PLATFORMS_URL"], access["COMMANDS_URL"], access["RABBITMQ_URL"] = w.platforms, w.commands, "amqp://localhost:1/"
	for name, value := range settings {
		if name == "CONSOLE_TOKEN_FILE" {
			require.NoError(t, os.WriteFile(value, []byte(token("platforms:read commands:read")+"\n"), 0o600))
		}
		access[name] = value
	}
	url, _ = startConsole(t, access, Parts{})
	return url, token
}

func TestFeedNeedsATokenAndThePageDoesNot(t *testing.T) {
	url, token := startGuarded(t, map[string]string{"CONSOLE_TOKEN_FILE": filepath.Join(t.TempDir(), "token")})
	assert.Equal(t, http200, testkit.Send(t, "GET", url+"/", "").Status)
	feed := url + "/feed?format=ndjson"
	refused := testkit.Send(t, "GET", feed, "")
	testkit.RequireProblem(t, refused, http.StatusUnauthorized)
	assert.Equal(t, "Bearer", refused.Header.Get("WWW-Authenticate"))
	testkit.RequireProblem(t, testkit.Send(t, "GET", feed, "", "Authorization", "Bearer "+token("commands:read")), http.StatusForbidden)
	testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/api/platforms", ""), http.StatusUnauthorized)

	authorization := "Bearer " + token("platforms:read")
	assert.Equal(t, http200, testkit.Send(t, "GET", url+"/api/platforms", "", "Authorization", authorization).Status, "it is passed on")
	for _, line := range []string{`"list/platforms","content":{"added":[{"id":1`, `"list/commands","content":{"added":[{"id":1`, `"gauge","subject":"outbox"`} {
		eventually(t, line+", read with the console's own token", func() bool {
			return strings.Contains(testkit.Send(t, "GET", feed, "", "Authorization", authorization).Body, line)
		})
	}
}

func TestFeedOnLoopbackIsNotReadByAnotherName(t *testing.T) {
	open, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/"}, Parts{})
	guarded, token := startGuarded(t, nil)
	ask := func(url, host string) int {
		request := testkit.NewRequest(t, "GET", url+"/feed?format=ndjson", nil)
		request.Host = host
		if url == guarded {
			request.Header.Set("Authorization", "Bearer "+token("platforms:read"))
		}
		return testkit.SendRequest(t, request).Status
	}
	for _, host := range []string{"localhost", "localhost:7000", "127.0.0.1:7000", "[::1]:7000"} {
		assert.Equal(t, http200, ask(open, host), host)
	}
	for _, host := range []string{"rebound.example.com", "localhost.example.com:7000", "192.0.2.1"} {
		assert.Equal(t, http.StatusMisdirectedRequest, ask(open, host), host)
		assert.Equal(t, http200, ask(guarded, host), "with access control, the token decides")
	}
}

// Without a token of its own, the console says what it cannot see.
func TestConsoleWithoutATokenSaysWhatItCannotSee(t *testing.T) {
	url, token := startGuarded(t, nil)
	got := testkit.Send(t, "GET", url+"/feed?format=ndjson", "", "Authorization", "Bearer "+token("platforms:read"))
	require.Equal(t, http200, got.Status)
	first, _, _ := strings.Cut(got.Body, "\n")
	assert.Contains(t, first, `"sees":["spans","events","probes","queues"]`)
	assert.Contains(t, first, "CONSOLE_TOKEN_FILE")
	lines := slices.Collect(strings.Lines(got.Body))
	assert.False(t, slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, `"kind":"list"`) }))
}
