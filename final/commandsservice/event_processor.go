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

// receivedEvent is a message of a batch, and what becomes of it.
type receivedEvent struct {
	message  bus.Message
	span     trace.Span
	platform platform // what it reports, when it is to be stored
	err      error    // why it was not handled
}

// process handles a batch of events: it stores their platforms in one
// transaction or, when the database refuses one of them, the others without
// it. It returns an error or nil for each message, as bus.Subscriber requires. An
// event of another type is ignored, which is no error. The same event may arrive
// any number of times. While the database is down the batch waits, and with it
// every event behind it: no other delivery would succeed either.
func (p *eventProcessor) process(ctx context.Context, batch []bus.Message) []error {
	events := make([]receivedEvent, len(batch))
	var reported []*receivedEvent // those with a platform
	for i, m := range batch {
		e := &events[i]
		e.message, e.span = m, p.startSpan(ctx, m)
		if p.decode(ctx, e) {
			reported = append(reported, e)
		}
	}
	if len(reported) > 0 {
		p.storePlatforms(ctx, reported)
	}
	errs := make([]error, len(batch))
	for i, e := range events {
		endSpan(e.span, e.err)
		errs[i] = e.err
	}
	return errs
}

// decode reports whether an event has a platform to store. It ignores an event of
// another type; any other event without a valid platform is unusable.
func (p *eventProcessor) decode(ctx context.Context, e *receivedEvent) bool {
	var err error
	e.platform, err = decodePlatformPublished(e.message.Body)
	switch {
	case errors.Is(err, errOtherEvent):
		p.metrics.consumed.WithLabelValues("ignored").Inc()
		p.log.InfoContext(trace.ContextWithSpan(ctx, e.span), "event ignored", "message", e.message.ID, "reason", err)
	case err != nil:
		e.err = fmt.Errorf("%w: %w", bus.ErrUnusable, err)
	}
	return err == nil
}

// storePlatforms stores the platforms of events, in one transaction if it can, and
// notes which events failed.
func (p *eventProcessor) storePlatforms(ctx context.Context, events []*receivedEvent) {
	ctx, span := p.startStoring(ctx, events)
	platforms := make([]platform, len(events))
	for i, e := range events {
		platforms[i] = e.platform
	}
	stored, errs := p.upsert(ctx, platforms)
	endSpan(span, cmp.Or(errs...))
	var handled []time.Time // the timestamps of those that are committed
	for i, e := range events {
		if e.err = errs[i]; e.err == nil {
			handled = append(handled, e.message.Time)
			describeSpan(e.span, e.platform)
		}
	}
	p.metrics.handled(stored, handled)
	p.logStored(ctx, platforms, stored, len(handled))
}

// upsert stores the platforms, as upsertEach does. While the database is
// unavailable it retries, until ctx ends.
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

// logStored logs one line for a batch, whatever its size: a backlog is handled at
// some ten thousand events a second.
func (p *eventProcessor) logStored(ctx context.Context, platforms []platform, stored, handled int) {
	switch {
	case handled == 0: // the subscriber logs the errors
	case len(platforms) == 1:
		p.log.InfoContext(ctx, "platform received by event", "id", platforms[0].ExternalID, "name", platforms[0].Name, "new", stored == 1)
	default:
		p.log.Info("platforms received by event", "received", handled, "new", stored,
			"first", platforms[0].ExternalID, "last", platforms[len(platforms)-1].ExternalID)
	}
}

// startSpan starts the span of a message, in the trace of the request that
// created the platform. A message without a trace has no span. Without tracing
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

// startStoring starts the span of the transaction for the platforms of events. It
// is a child of the first event's span and links to the others, because many
// traces share it.
func (p *eventProcessor) startStoring(ctx context.Context, events []*receivedEvent) (context.Context, trace.Span) {
	parent := events[0]
	var links []trace.Link
	for _, e := range events {
		switch {
		case e == parent || !e.span.IsRecording():
		case !parent.span.IsRecording():
			parent = e
		default:
			links = append(links, trace.Link{SpanContext: e.span.SpanContext()})
		}
	}
	return p.tracer.Start(trace.ContextWithSpan(ctx, parent.span), "store platforms", trace.WithLinks(links...),
		trace.WithAttributes(attribute.Int("db.operation.batch.size", len(events))))
}

// describeSpan says in the span of an event which platform it reported.
func describeSpan(span trace.Span, p platform) {
	if span.IsRecording() {
		span.SetAttributes(attribute.Int("microcomm.platform.id", int(p.ExternalID)), attribute.String("microcomm.platform.name", p.Name))
	}
}

// endSpan ends a span, with the error of what it stands for.
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

// handled counts events whose platforms are committed, by their timestamps. Of
// these, stored were new or had another name.
func (m *eventMetrics) handled(stored int, times []time.Time) {
	m.consumed.WithLabelValues("stored").Add(float64(stored))
	m.consumed.WithLabelValues("known").Add(float64(len(times) - stored))
	now := time.Now()
	for _, t := range times {
		if !t.IsZero() { // some publishers send no timestamp
			m.age.Observe(max(now.Sub(t), 0).Seconds()) // clocks differ
		}
	}
}

// upsertEach stores platforms with as few calls of upsertPlatforms as possible. A
// call that fails is repeated for each half, so that a platform which the database
// refuses doesn't keep out the others. It returns how many were new or had
// another name, and for each platform an error or nil.
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
