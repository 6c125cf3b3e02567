package commandsservice

import "github.com/prometheus/client_golang/prometheus"

// subscriberMetrics shows what becomes of events that are not handled.
type subscriberMetrics struct {
	deadLetters prometheus.Gauge
	consumed    *prometheus.CounterVec // by result; the event processor counts the other results
}

func newSubscriberMetrics(registry prometheus.Registerer, consumed *prometheus.CounterVec) *subscriberMetrics {
	m := &subscriberMetrics{
		deadLetters: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dead_letter_events", Help: "Events in the queue of dead letters, some seconds ago."}),
		consumed: consumed,
	}
	registry.MustRegister(m.deadLetters)
	return m
}
