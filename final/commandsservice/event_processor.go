package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/bus"
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
			p.log.Info("event ignored", "message", m.ID, "reason", err)
		case err != nil:
			errs[i] = fmt.Errorf("%w: %w", bus.ErrUnusable, err)
		default:
			platforms, places = append(platforms, received), append(places, i)
		}
	}
	if len(platforms) > 0 {
		stored, storeErrs := p.upsert(ctx, platforms)
		var handled []time.Time
		for i, err := range storeErrs {
			if errs[places[i]] = err; err == nil {
				handled = append(handled, batch[places[i]].Time)
			}
		}
		p.metrics.handled(stored, handled)
		p.logStored(platforms, stored, len(handled))
	}
	for i, span := range spans {
		if errs[i] != nil {
			span.SetStatus(codes.Error, errs[i].Error())
		}
		span.End()
	}
	return errs
}

// upsert stores the platforms, as upsertEach does, once the database can be had
// or ctx ends.
func (p *eventProcessor) upsert(ctx context.Context, platforms []platform) (stored int, errs []error) {
	var pause backoff
	for {
		attempt, cancel := context.WithTimeout(ctx, requestTimeout)
		stored, errs = upsertEach(attempt, p.store, platforms)
		cancel()
		i := slices.IndexFunc(errs, databaseUnavailable)
		if i < 0 {
			return stored, errs
		}
		p.log.Warn("database unavailable, events wait", "count", len(platforms), "error", errs[i])
		if pause.wait(ctx) != nil {
			return stored, errs
		}
	}
}

// logStored logs a line for a single event, and for a batch one line in all:
// when many events wait, there are some ten thousand each second.
func (p *eventProcessor) logStored(platforms []platform, stored, handled int) {
	switch {
	case handled == 0: // the subscriber logs the errors
	case len(platforms) == 1:
		p.log.Info("platform received by event", "id", platforms[0].ExternalID, "name", platforms[0].Name, "new", stored == 1)
	default:
		p.log.Info("platforms received by event", "received", handled, "new", stored,
			"first", platforms[0].ExternalID, "last", platforms[len(platforms)-1].ExternalID)
	}
}

// startSpan continues the trace of the request that created the platform.
func (p *eventProcessor) startSpan(ctx context.Context, m bus.Message) trace.Span {
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier(m.Headers))
	_, span := p.tracer.Start(ctx, "process Platform_Published", trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(attribute.String("messaging.message.id", m.ID)))
	return span
}
