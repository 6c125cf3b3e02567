package platformservice

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"microcomm/final/internal/bus"
)

// startTestRelay runs a relay until the test ends.
func startTestRelay(t *testing.T, store outboxStore, publisher bus.Publisher) *relay {
	t.Helper()
	log, _ := captureLog()
	r := newRelay(store, publisher, newRelayMetrics(prometheus.NewRegistry()), log)
	r.start()
	t.Cleanup(r.stop)
	return r
}
