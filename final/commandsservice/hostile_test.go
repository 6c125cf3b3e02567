package commandsservice

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// TestHalfClosedConnection: a client that has sent its request and closes its
// side of the connection, as nc -N does, gets the true response, and what it
// asked for is done.
func TestHalfClosedConnection(t *testing.T) {
	testkit.TestHalfClosedConnection(t, heldCommands, []testkit.HalfClosed{
		{Method: "GET", Path: "/api/c/platforms", Route: "/api/c/platforms", Status: 200, Response: `[{"id":4,`},
		{Method: "GET", Path: "/api/c/platforms/4/commands", Route: "/api/c/platforms/{platformId}/commands", Status: 200, Response: `[{"id":1,`},
		{Method: "GET", Path: "/api/c/platforms/9/commands", Route: "/api/c/platforms/{platformId}/commands", Status: 404, Response: "there is no platform 9"},
		{Method: "GET", Path: "/api/c/platforms/4/commands/1", Route: "/api/c/platforms/{platformId}/commands/{commandId}", Status: 200, Response: `{"id":1,`},
		{Method: "POST", Path: "/api/c/platforms/4/commands", Route: "/api/c/platforms/{platformId}/commands", Body: `{"howTo":"x","commandLine":"y"}`, Status: 201, Response: `{"id":2,"howTo":"x"`},
		{Method: "POST", Path: "/api/c/platforms", Route: "/api/c/platforms", Body: `{"id":5,"name":"five"}`, Status: 200, Response: `{"id":5,"name":"five"`},
	})
}

func TestDisconnectedClient(t *testing.T) { testkit.TestDisconnectedClient(t, heldCommands) }

func TestSlowBodies(t *testing.T) { testkit.TestSlowBodies(t, heldCommands) }

func TestRefusedBodies(t *testing.T) { testkit.TestRefusedBodies(t, heldCommands) }

// heldCommands are the commands of platform 4, in a store that waits.
func heldCommands(t testing.TB) testkit.Rows {
	held := holdStore(t)
	return testkit.Rows{
		Held: held.Held, Path: "/api/c/platforms/4/commands", Route: "/api/c/platforms/{platformId}/commands", Body: `{"howTo":"x","commandLine":"y"}`,
		Fill: func() {
			for range 1000 {
				_, err := held.commandStore.createCommand(t.Context(), command{PlatformID: 4, HowTo: "h", CommandLine: strings.Repeat("😀", 4000)})
				require.NoError(t, err)
			}
		},
		Count: func() int { return len(commandsOf(t, held.commandStore, 4)) },
	}
}

// heldStore is a store whose calls wait.
type heldStore struct {
	commandStore
	*testkit.Held
}

// holdStore serves the REST API over a new store, with the platform 4 and a command of it.
func holdStore(t testing.TB) *heldStore {
	t.Helper()
	held := &heldStore{commandStore: memoryStore(t), Held: testkit.NewHeld()}
	addPlatforms(t, held.commandStore, platform{ExternalID: 4, Name: "four"})
	_, err := held.commandStore.createCommand(t.Context(), command{PlatformID: 4, HowTo: "h", CommandLine: "c"})
	require.NoError(t, err)
	log, _ := testkit.CaptureLog()
	registry := telemetry.NewRegistry()
	metrics := telemetry.NewHTTP(registry, noop.NewTracerProvider().Tracer(""))
	held.Serve(t, web.WithMetrics(telemetry.Metrics(registry), nil, metrics.Handler((&restAPI{store: held, slots: web.NewSlots(2), log: log}).handler())))
	return held
}

func (s *heldStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	s.Hold()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return s.commandStore.platformsAfter(ctx, id, limit)
}

func (s *heldStore) commandsAfter(ctx context.Context, platformID, id int32, limit int) ([]command, bool, error) {
	s.Hold()
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	return s.commandStore.commandsAfter(ctx, platformID, id, limit)
}

func (s *heldStore) command(ctx context.Context, platformID, id int32) (command, error) {
	s.Hold()
	return s.commandStore.command(ctx, platformID, id)
}

func (s *heldStore) addPlatform(ctx context.Context, p platform) (bool, error) {
	s.Hold()
	return s.commandStore.addPlatform(ctx, p)
}

func (s *heldStore) createCommand(ctx context.Context, c command) (command, error) {
	s.Hold()
	return s.commandStore.createCommand(ctx, c)
}

func (s *heldStore) createCommandOnce(ctx context.Context, key string, c command) (command, bool, error) {
	s.Hold()
	return s.commandStore.createCommandOnce(ctx, key, c)
}
