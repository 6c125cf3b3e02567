package platformservice

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// describeSpan says in the request's span which platform it has created, and when
// that was committed; replayed when an earlier request had.
func describeSpan(ctx context.Context, created platform, replayed bool) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if !replayed {
		span.AddEvent("committed")
	}
	span.SetAttributes(attribute.Int("microcomm.platform.id", int(created.ID)),
		attribute.String("microcomm.platform.name", created.Name),
		attribute.Bool("microcomm.idempotency.replayed", replayed))
}
