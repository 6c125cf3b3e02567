package outbox

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"microcomm/final/internal/bus"
)

// statsTimeout bounds the query that a scrape of the metrics costs.
const statsTimeout = time.Second

// relayMetrics counts what became of events that were published.
type relayMetrics struct {
	results *prometheus.CounterVec
}

func newRelayMetrics(registry prometheus.Registerer) *relayMetrics {
	m := &relayMetrics{results: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "outbox_published_events_total",
		Help: "Events sent to the bus, by what became of them. Those that were not confirmed are sent again.",
	}, []string{"result"})}
	for _, result := range []string{"confirmed", "returned", "failed"} {
		m.results.WithLabelValues(result) // 0, not missing
	}
	registry.MustRegister(m.results)
	return m
}

// published counts a batch of sent events, of which the bus confirmed the first.
func (m *relayMetrics) published(confirmed, sent int, err error) {
	m.results.WithLabelValues("confirmed").Add(float64(confirmed))
	result := "failed"
	if errors.Is(err, bus.ErrNoQueue) {
		result = "returned"
	}
	m.results.WithLabelValues(result).Add(float64(sent - confirmed))
}

// outboxCollector asks the database whenever the metrics are scraped. Every
// replica reports the same, and so does one that publishes nothing.
type outboxCollector struct {
	store   Store
	pending *prometheus.Desc
	oldest  *prometheus.Desc
}

// NewCollector returns the metrics of what waits in store.
func NewCollector(store Store) prometheus.Collector {
	return &outboxCollector{
		store:   store,
		pending: prometheus.NewDesc("outbox_pending_events", "Events that wait to be published.", nil, nil),
		oldest:  prometheus.NewDesc("outbox_oldest_event_age_seconds", "Age of the first event that waits; 0 without one.", nil, nil),
	}
}

// Describe implements prometheus.Collector.
func (c *outboxCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.pending
	descs <- c.oldest
}

// Collect implements prometheus.Collector. Without a database it collects
// nothing: an unknown number is not 0, and the other metrics are still wanted.
func (c *outboxCollector) Collect(metrics chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), statsTimeout)
	defer cancel()
	pending, oldest, err := c.store.Stats(ctx)
	if err != nil {
		return
	}
	metrics <- prometheus.MustNewConstMetric(c.pending, prometheus.GaugeValue, float64(pending))
	metrics <- prometheus.MustNewConstMetric(c.oldest, prometheus.GaugeValue, oldest.Seconds())
}
