package commandsservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/web"
)

// eventProcessor stores what the events from the bus report.
type eventProcessor struct {
	store   commandStore
	metrics *eventMetrics
	tracer  trace.Tracer
	log     *slog.Logger
}

// process handles a batch of events: it stores their platforms in one
// transaction or, when the database refuses one of them, the others without
// it. It returns an error or nil for each message, as bus.Subscriber requires. An
// event of another type is ignored, which is no error. The same event may come
// any number of times. While the database is away the batch waits, and with it
// every event behind it: no delivery would fare better.
func (p *eventProcessor) process(ctx context.Context, batch []bus.Message) []error {
	errs := make([]error, len(batch))
	spans := make([]trace.Span, len(batch))
	var platforms []platform
	var places []int // in the batch, of each of platforms
	for i, m := range batch {
		spans[i] = p.startSpan(ctx, m)
		received, err := decodePlatformPublished(m.Body)
		switch {
		case errors.Is(err, errOtherEvent):
			p.metrics.consumed.WithLabelValues("ignored").Inc()
			p.log.InfoContext(trace.ContextWithSpan(ctx, spans[i]), "event ignored", "message", m.ID, "reason", err)
		case err != nil:
			errs[i] = fmt.Errorf("%w: %w", bus.ErrUnusable, err)
		default:
			platforms, places = append(platforms, received), append(places, i)
		}
	}
	if len(platforms) > 0 {
		storing, span := p.startStoring(ctx, spans, places)
		stored, storeErrs := p.upsert(storing, platforms)
		endSpan(span, cmp.Or(storeErrs...))
		var handled []time.Time
		for i, err := range storeErrs {
			if errs[places[i]] = err; err == nil {
				handled = append(handled, batch[places[i]].Time)
			}
		}
		p.metrics.handled(stored, handled)
		p.logStored(storing, platforms, stored, len(handled))
	}
	for i, span := range spans {
		endSpan(span, errs[i])
	}
	return errs
}

// upsert stores the platforms, as upsertEach does, once the database can be had
// or ctx ends.
func (p *eventProcessor) upsert(ctx context.Context, platforms []platform) (stored int, errs []error) {
	var pause backoff.Backoff
	for {
		attempt, cancel := context.WithTimeout(ctx, web.RequestTimeout)
		stored, errs = upsertEach(attempt, p.store, platforms)
		cancel()
		i := slices.IndexFunc(errs, databaseUnavailable)
		if i < 0 {
			return stored, errs
		}
		p.log.WarnContext(ctx, "database unavailable, events wait", "count", len(platforms), "error", errs[i])
		if pause.Wait(ctx) != nil {
			return stored, errs
		}
	}
}

// logStored logs a line for a single event, and for a batch one line in all:
// when many events wait, there are some ten thousand each second.
func (p *eventProcessor) logStored(storing context.Context, platforms []platform, stored, handled int) {
	switch {
	case handled == 0: // the subscriber logs the errors
	case len(platforms) == 1:
		p.log.InfoContext(storing, "platform received by event", "id", platforms[0].ExternalID, "name", platforms[0].Name, "new", stored == 1)
	default:
		p.log.Info("platforms received by event", "received", handled, "new", stored,
			"first", platforms[0].ExternalID, "last", platforms[len(platforms)-1].ExternalID)
	}
}

// startSpan begins the span of a message, in the trace of the request that
// created the platform. A message that is in no trace has none: without tracing
// that is every message, and costs nothing.
func (p *eventProcessor) startSpan(ctx context.Context, m bus.Message) trace.Span {
	if m.Headers["traceparent"] == "" {
		return trace.SpanFromContext(ctx)
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier(m.Headers))
	_, span := p.tracer.Start(ctx, "process Platform_Published", trace.WithSpanKind(trace.SpanKindConsumer))
	if span.IsRecording() {
		span.SetAttributes(attribute.String("messaging.message.id", m.ID))
	}
	return span
}

// startStoring begins the span of the transaction for the messages at places. It
// is a child of the first one's span, and has links to the others': many traces
// share it.
func (p *eventProcessor) startStoring(ctx context.Context, spans []trace.Span, places []int) (context.Context, trace.Span) {
	first := places[0]
	var links []trace.Link
	for _, i := range places {
		switch {
		case !spans[i].IsRecording():
		case !spans[first].IsRecording():
			first = i
		case i != first:
			links = append(links, trace.Link{SpanContext: spans[i].SpanContext()})
		}
	}
	return p.tracer.Start(trace.ContextWithSpan(ctx, spans[first]), "store platforms", trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("db.operation.batch.size", len(places))))
}

// endSpan ends the span of what returned err.
func endSpan(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

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

// upsertEach stores platforms with as few calls of upsertPlatforms as can be: one
// that fails is done again for each half, so that a platform which the database
// refuses does not keep out the others. It returns how many were new or had
// another name, and an error for each that was not stored.
func upsertEach(ctx context.Context, store commandStore, platforms []platform) (stored int, errs []error) {
	stored, err := store.upsertPlatforms(ctx, platforms)
	switch {
	case err == nil:
		return stored, make([]error, len(platforms))
	case len(platforms) == 1, ctx.Err() != nil, databaseUnavailable(err):
		return 0, slices.Repeat([]error{err}, len(platforms))
	}
	half := len(platforms) / 2
	stored, errs = upsertEach(ctx, store, platforms[:half])
	more, others := upsertEach(ctx, store, platforms[half:])
	return stored + more, append(errs, others...)
}
