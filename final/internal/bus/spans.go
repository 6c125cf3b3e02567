package bus

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// The outcomes of a message.
const (
	Acknowledged = "acknowledged"
	Retried      = "retried"
	DeadLettered = "dead_lettered"
)

// Settled makes the span of what a subscriber has told the bus about a message since
// began: that it is done or, with err, after how many attempts it is put elsewhere. A
// message that is done and in no trace has none.
func Settled(tracer trace.Tracer, began time.Time, m Message, outcome string, attempts int, err error) {
	if tracer == nil || m.Headers["traceparent"] == "" && err == nil {
		return
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier(m.Headers))
	_, span := tracer.Start(ctx, "settle Platform_Published", trace.WithSpanKind(trace.SpanKindClient), trace.WithTimestamp(began))
	defer span.End()
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(attribute.String("messaging.message.id", m.ID), attribute.String("microcomm.outcome", outcome))
	if err != nil {
		span.SetAttributes(attribute.Int("microcomm.attempt", attempts))
		span.SetStatus(codes.Error, fmt.Sprintf("%.500v", err))
	}
}
