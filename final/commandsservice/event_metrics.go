package commandsservice

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// eventMetrics counts events. The event processor counts those that it has
// handled; the subscriber counts those that it retries or dead-letters.
type eventMetrics struct {
	consumed *prometheus.CounterVec // by result: stored, known, ignored, retried, dead_lettered
	age      prometheus.Histogram
}

func newEventMetrics(registry prometheus.Registerer) *eventMetrics {
	m := &eventMetrics{
		consumed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "events_consumed_total",
			Help: "Events received, by what became of them. An event that is retried is counted each time.",
		}, []string{"result"}),
		age: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "event_age_seconds",
			Help:    "Time from the event's timestamp to the commit of its platform.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600},
		}),
	}
	for _, result := range []string{"stored", "known", "ignored", "retried", "dead_lettered"} {
		m.consumed.WithLabelValues(result) // 0, not missing
	}
	registry.MustRegister(m.consumed, m.age)
	return m
}

// handled counts events whose platforms are committed, of which stored were new
// or had another name.
func (m *eventMetrics) handled(stored int, times []time.Time) {
	m.consumed.WithLabelValues("stored").Add(float64(stored))
	m.consumed.WithLabelValues("known").Add(float64(len(times) - stored))
	now := time.Now()
	for _, t := range times {
		if !t.IsZero() { // sent by a publisher that does not say when
			m.age.Observe(max(now.Sub(t), 0).Seconds()) // clocks differ
		}
	}
}
