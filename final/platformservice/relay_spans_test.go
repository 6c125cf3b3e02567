package platformservice

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/outbox"
	"microcomm/final/internal/testkit"
)

// post is the span of a POST, whose trace its event is in.
func post() trace.SpanContext {
	return trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, Remote: true})
}

// startTracedRelay runs a relay, which the caller stops, over two events, the
// first of which is in post's trace.
func startTracedRelay(t *testing.T, tracer trace.Tracer, publisher bus.Publisher) (*outbox.Relay, platformStore) {
	t.Helper()
	store := memoryStore(t)
	_, err := store.createPlatform(trace.ContextWithSpanContext(t.Context(), post()), platform{Name: "x", Publisher: "p", Cost: "1"})
	require.NoError(t, err)
	createPlatform(t, store, "in no trace")
	log, _ := testkit.CaptureLog()
	relay := outbox.NewRelay(store, publisher, prometheus.NewRegistry(), tracer, log)
	relay.Start()
	return relay, store
}

func TestRelaySpans(t *testing.T) {
	failing := func(calls int) *testPublisher {
		return &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
			if calls--; calls >= 0 {
				return 0, errors.New("down")
			}
			return len(messages), nil
		}}
	}

	t.Run("an event's span continues the POST's trace, and the message continues the span", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { // in which no stall of the machine costs the relay its lease
			recorder, publisher := tracetest.NewSpanRecorder(), failing(2)
			relay, store := startTracedRelay(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer(""), publisher)
			publisher.waitAll(t, store)
			relay.Stop()
			require.Len(t, recorder.Ended(), 1, "one for all attempts, and none for the other event")
			span := recorder.Ended()[0]
			assert.Equal(t, "publish Platform_Published", span.Name())
			assert.Equal(t, trace.SpanKindProducer, span.SpanKind())
			assert.Equal(t, post(), span.Parent())
			assert.Equal(t, codes.Unset, span.Status().Code)
			sent := publisher.confirmed[slices.IndexFunc(publisher.confirmed, func(m bus.Message) bool { return len(m.Headers) > 0 })]
			assert.Equal(t, "00-"+span.SpanContext().TraceID().String()+"-"+span.SpanContext().SpanID().String()+"-01", sent.Headers["traceparent"])
		})
	})

	t.Run("the span of an event that was not published ends with the relay", func(t *testing.T) {
		recorder := tracetest.NewSpanRecorder()
		relay, _ := startTracedRelay(t, sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer(""), failing(1_000_000))
		testkit.Eventually(t, "an attempt", func() bool { return len(recorder.Started()) > 0 })
		relay.Stop()
		require.Len(t, recorder.Ended(), 1)
		assert.Equal(t, codes.Error, recorder.Ended()[0].Status().Code)
	})

	t.Run("with only a client's trace, the message continues that of the POST", func(t *testing.T) {
		publisher := &testPublisher{}
		relay, store := startTracedRelay(t, noop.NewTracerProvider().Tracer(""), publisher)
		publisher.waitAll(t, store)
		relay.Stop()
		assert.Equal(t, map[string]string{"traceparent": "00-01000000000000000000000000000000-0200000000000000-01"}, publisher.confirmed[0].Headers)
		assert.Empty(t, publisher.confirmed[1].Headers)
	})
}
