package platformservice

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
	testkit.TestHalfClosedConnection(t, heldPlatforms, []testkit.HalfClosed{
		{Method: "GET", Path: "/api/platforms", Route: "/api/platforms", Status: 200, Response: `[{"id":1,`},
		{Method: "GET", Path: "/api/platforms?limit=1", Route: "/api/platforms", Status: 200, Response: `[{"id":1,`},
		{Method: "GET", Path: "/api/platforms/1", Route: "/api/platforms/{id}", Status: 200, Response: `{"id":1,`},
		{Method: "GET", Path: "/api/platforms/9", Route: "/api/platforms/{id}", Status: 404, Response: "there is no platform 9"},
		{Method: "POST", Path: "/api/platforms", Route: "/api/platforms", Body: `{"name":"x","publisher":"p","cost":"1"}`, Status: 201, Response: `{"id":2,"name":"x"`},
	})
}

func TestDisconnectedClient(t *testing.T) { testkit.TestDisconnectedClient(t, heldPlatforms) }

func TestSlowBodies(t *testing.T) { testkit.TestSlowBodies(t, heldPlatforms) }

func TestRefusedBodies(t *testing.T) { testkit.TestRefusedBodies(t, heldPlatforms) }

// heldPlatforms are the platforms of a store that waits.
func heldPlatforms(t testing.TB) testkit.Rows {
	held := holdStore(t)
	return testkit.Rows{
		Held: held.Held, Path: "/api/platforms", Route: "/api/platforms", Body: `{"name":"x","publisher":"p","cost":"1"}`,
		Fill: func() {
			for range 2000 {
				_, err := held.platformStore.createPlatform(t.Context(), platform{Name: strings.Repeat("😀", 500), Publisher: strings.Repeat("😀", 500), Cost: "1"})
				require.NoError(t, err)
			}
		},
		Count: func() int { return countRows(t, held.platformStore, "platforms") },
	}
}

// heldStore is a store whose calls wait.
type heldStore struct {
	platformStore
	*testkit.Held
}

// holdStore serves the REST API over a new store, with one platform.
func holdStore(t testing.TB) *heldStore {
	t.Helper()
	held := &heldStore{platformStore: memoryStore(t), Held: testkit.NewHeld()}
	createPlatform(t, held.platformStore, "one")
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
	return s.platformStore.platformsAfter(ctx, id, limit)
}

func (s *heldStore) platform(ctx context.Context, id int32) (platform, error) {
	s.Hold()
	return s.platformStore.platform(ctx, id)
}

func (s *heldStore) createPlatform(ctx context.Context, p platform) (platform, error) {
	s.Hold()
	return s.platformStore.createPlatform(ctx, p)
}

func (s *heldStore) createPlatformOnce(ctx context.Context, key string, p platform) (platform, bool, error) {
	s.Hold()
	return s.platformStore.createPlatformOnce(ctx, key, p)
}
