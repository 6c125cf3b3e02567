package outbox

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// publishSpans are the spans of the events that a relay is publishing: one for
// each event, from the first attempt to the bus's confirmation. So it also covers
// the time that the bus was down. It is a child of the POST's, and the parent of those at
// the consumers. An event that is in no trace has none.
type publishSpans struct {
	tracer trace.Tracer
	open   map[int64]trace.Span // by the event's id
}

// start begins the span of e, unless it has begun, and puts it into the
// message's headers.
func (s *publishSpans) start(e Event) {
	if e.Message.Headers["traceparent"] == "" {
		return
	}
	headers := propagation.MapCarrier(e.Message.Headers)
	ctx := propagation.TraceContext{}.Extract(context.Background(), headers)
	span, begun := s.open[e.ID]
	if !begun {
		ctx, span = s.tracer.Start(ctx, "publish "+e.Message.Type, trace.WithSpanKind(trace.SpanKindProducer),
			trace.WithAttributes(attribute.String("messaging.message.id", e.Message.ID)))
		if !span.IsRecording() {
			return // the consumers continue the POST's
		}
		span.AddEvent("stored", trace.WithTimestamp(e.Message.Time))
		s.open[e.ID] = span
	} else {
		span.AddEvent("attempt") // the one before failed
	}
	propagation.TraceContext{}.Inject(trace.ContextWithSpan(ctx, span), headers)
}

// end ends the spans of events that the bus has taken.
func (s *publishSpans) end(events []Event) {
	if len(s.open) == 0 {
		return
	}
	for _, e := range events {
		if span, begun := s.open[e.ID]; begun {
			span.End()
			delete(s.open, e.ID)
		}
	}
}

// close ends those of the events that another relay will publish.
func (s *publishSpans) close() {
	for _, span := range s.open {
		span.SetStatus(codes.Error, "not published by this relay")
		span.End()
	}
}
