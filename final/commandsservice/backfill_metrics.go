package commandsservice

import "github.com/prometheus/client_golang/prometheus"

// backfillMetrics counts what the backfill does.
type backfillMetrics struct {
	runs      *prometheus.CounterVec // by result: succeeded, failed
	platforms *prometheus.CounterVec // by result: stored, known
}

func newBackfillMetrics(registry prometheus.Registerer) *backfillMetrics {
	m := &backfillMetrics{
		runs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backfill_runs_total",
			Help: "Attempts to fetch the platforms that PlatformService has.",
		}, []string{"result"}),
		platforms: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "backfill_platforms_total",
			Help: "Platforms that the backfill received: new or with another name (stored), or known.",
		}, []string{"result"}),
	}
	for _, result := range []string{"succeeded", "failed"} {
		m.runs.WithLabelValues(result) // 0, not missing
	}
	for _, result := range []string{"stored", "known"} {
		m.platforms.WithLabelValues(result)
	}
	registry.MustRegister(m.runs, m.platforms)
	return m
}

// ran counts an attempt that ended with err.
func (m *backfillMetrics) ran(err error) {
	result := "succeeded"
	if err != nil {
		result = "failed"
	}
	m.runs.WithLabelValues(result).Inc()
}

// stored counts platforms that are committed.
func (m *backfillMetrics) stored(stored, known int) {
	m.platforms.WithLabelValues("stored").Add(float64(stored))
	m.platforms.WithLabelValues("known").Add(float64(known))
}
