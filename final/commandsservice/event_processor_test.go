package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/testkit"
)

// An event as the .NET PlatformService publishes it.
const recordedEvent = `{"Id":4,"Name":"x","Event":"Platform_Published"}`

func TestEventProcessor(t *testing.T) {
	t.Run("stores the platform of an event that the .NET service sent", func(t *testing.T) {
		p := newTestProcessor(t)
		require.Equal(t, []error{nil}, p.handle(t, recordedEvent))
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "x"})
		assert.Len(t, p.logged.Lines(`"platform received by event" id=4 name=x new=true`), 1)
		p.requireConsumed(t, map[string]int{"stored": 1})
	})

	t.Run("stores a repeated event once", func(t *testing.T) {
		p := newTestProcessor(t)
		require.Equal(t, []error{nil, nil}, p.handle(t, recordedEvent, recordedEvent))
		require.Equal(t, []error{nil}, p.handle(t, recordedEvent))
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "x"})
		p.requireConsumed(t, map[string]int{"stored": 1, "known": 2})
	})

	t.Run("updates the name of a known platform", func(t *testing.T) {
		p := newTestProcessor(t)
		p.handle(t, recordedEvent)
		require.Equal(t, []error{nil}, p.handle(t, event(`"Id":4,"Name":"another"`)))
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "another"})
		p.requireConsumed(t, map[string]int{"stored": 2})
	})

	t.Run("stores a batch in one transaction", func(t *testing.T) {
		p := newTestProcessor(t)
		calls := &countingStore{commandStore: p.store}
		p.store = calls
		var bodies []string
		for _, platform := range numbered(1, 500) {
			bodies = append(bodies, event(fmt.Sprintf(`"Id":%d,"Name":%q`, platform.ExternalID, platform.Name)))
		}
		require.Equal(t, make([]error, 500), p.handle(t, bodies...))
		p.requirePlatforms(t, numbered(1, 500)...)
		assert.Equal(t, 1, calls.upserts)
		assert.Len(t, p.logged.Lines("received by event"), 1)
	})

	t.Run("stores all but the one that the database refuses", func(t *testing.T) {
		p := newTestProcessor(t)
		_, err := p.store.(*sqliteStore).db.Exec(`CREATE TRIGGER refuse BEFORE INSERT ON platforms WHEN NEW.external_id = 77
			BEGIN SELECT RAISE(ABORT, 'refused'); END`)
		require.NoError(t, err)
		var bodies []string
		for _, platform := range numbered(1, 200) {
			bodies = append(bodies, event(fmt.Sprintf(`"Id":%d,"Name":%q`, platform.ExternalID, platform.Name)))
		}
		errs := p.handle(t, bodies...)
		require.ErrorContains(t, errs[76], "refused")
		assert.NotErrorIs(t, errs[76], bus.ErrUnusable, "it may be stored later")
		errs[76] = nil
		require.Equal(t, make([]error, 200), errs)
		p.requirePlatforms(t, slices.Delete(numbered(1, 200), 76, 77)...)
		p.requireConsumed(t, map[string]int{"stored": 199})
	})

	t.Run("returns an error for every platform, to retry, when there is no database", func(t *testing.T) {
		p := newTestProcessor(t)
		require.NoError(t, p.store.close())
		errs := p.handle(t, recordedEvent, "no event", event(`"Id":5,"Name":"y"`), `{"Event":"Other"}`)
		for i, unusable := range []bool{false, true, false} {
			require.Error(t, errs[i])
			assert.Equal(t, unusable, errors.Is(errs[i], bus.ErrUnusable))
		}
		assert.NoError(t, errs[3])
		p.requireConsumed(t, map[string]int{"ignored": 1})
	})

	t.Run("waits while the database is locked, and then stores the batch at once", func(t *testing.T) {
		p := newTestProcessor(t)
		calls := &countingStore{commandStore: p.store, err: sqlite3.Error{Code: sqlite3.ErrBusy}, failing: 2}
		p.store = calls
		errs := p.handle(t, recordedEvent, event(`"Id":5,"Name":"y"`))
		assert.NoError(t, errors.Join(errs...))
		assert.Equal(t, 3, calls.upserts, "two that failed, one for both platforms")
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "x"}, platform{ExternalID: 5, Name: "y"})
	})

	t.Run("ends that wait with its context, with an error for each event", func(t *testing.T) {
		p := newTestProcessor(t)
		p.store = &countingStore{commandStore: p.store, err: sqlite3.Error{Code: sqlite3.ErrBusy}, failing: 1000}
		ctx, cancel := context.WithTimeout(t.Context(), 2*backoff.First)
		defer cancel()
		errs := p.process(ctx, []bus.Message{{Body: []byte(recordedEvent)}, {Body: []byte(event(`"Id":5,"Name":"y"`))}})
		assert.Error(t, errs[0])
		assert.Error(t, errs[1])
	})

	t.Run("measures the age of an event, from its timestamp to its commit", func(t *testing.T) {
		p := newTestProcessor(t)
		p.process(t.Context(), []bus.Message{
			{Body: []byte(recordedEvent), Time: time.Now().Add(-2 * time.Hour)},
			{Body: []byte(recordedEvent), Time: time.Now().Add(time.Hour)}, // another clock
			{Body: []byte(recordedEvent)},                                  // none
			{Body: []byte("no event"), Time: time.Now()},
		})
		var measured dto.Metric
		require.NoError(t, p.metrics.age.Write(&measured))
		assert.EqualValues(t, 2, measured.GetHistogram().GetSampleCount())
		assert.InDelta(t, 7200, measured.GetHistogram().GetSampleSum(), 60)
	})

	t.Run("continues the trace of the request that created the platform", func(t *testing.T) {
		p := newTestProcessor(t)
		recorder := tracetest.NewSpanRecorder()
		p.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
		const traceparent = "00-0af7651916cd43dd8448eb211c80319%d-b7ad6b7169203331-0%d"
		batch := []bus.Message{{Body: []byte(recordedEvent)}} // in no trace
		for i, sampled := range []int{0, 1, 1} {
			batch = append(batch, bus.Message{Body: []byte(recordedEvent),
				Headers: map[string]string{"traceparent": fmt.Sprintf(traceparent, i, sampled)}})
		}
		p.process(t.Context(), batch)
		spans := recorder.Ended()
		require.Len(t, spans, 3, "neither of the first two is in a trace that is sampled")
		store, first, second := spans[0], spans[1], spans[2]
		for i, span := range []sdktrace.ReadOnlySpan{first, second} {
			assert.Equal(t, "process Platform_Published", span.Name())
			assert.Equal(t, trace.SpanKindConsumer, span.SpanKind())
			assert.Equal(t, fmt.Sprintf("0af7651916cd43dd8448eb211c80319%d", i+1), span.Parent().TraceID().String())
			assert.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
		}
		assert.Equal(t, "store platforms", store.Name())
		assert.Equal(t, first.SpanContext(), store.Parent(), "one transaction, in the first trace")
		require.Len(t, store.Links(), 1)
		assert.Equal(t, second.SpanContext(), store.Links()[0].SpanContext)
	})

	t.Run("without tracing nothing is spent on it", func(t *testing.T) {
		p := newTestProcessor(t)
		m := bus.Message{ID: "x", Headers: map[string]string{}}
		testkit.Eventually(t, "a measurement without allocations of another goroutine", func() bool {
			return testing.AllocsPerRun(100, func() { endSpan(p.startSpan(t.Context(), m), nil) }) == 0
		})
	})

	t.Run("a failure is in the spans", func(t *testing.T) {
		p := newTestProcessor(t)
		recorder := tracetest.NewSpanRecorder()
		p.tracer = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
		require.NoError(t, p.store.close())
		p.process(t.Context(), []bus.Message{{Body: []byte(recordedEvent),
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c803190-b7ad6b7169203331-01"}}})
		for _, span := range recorder.Ended() {
			assert.Equal(t, codes.Error, span.Status().Code, span.Name())
		}
		assert.Len(t, recorder.Ended(), 2)
	})

	for _, body := range []string{
		`{"Id":4,"Name":"x","Event":"Platform_Deleted"}`,
		`{"Id":4,"Name":"x","Event":"platform_published"}`,
		`{"Event":"Command_Created","Id":"not ours to judge","Name":5}`,
	} {
		t.Run("ignores the event of another type "+body, func(t *testing.T) {
			p := newTestProcessor(t)
			require.Equal(t, []error{nil}, p.handle(t, body))
			p.requirePlatforms(t)
			assert.Len(t, p.logged.Lines("event ignored"), 1)
			p.requireConsumed(t, map[string]int{"ignored": 1})
		})
	}

	for what, body := range map[string]string{
		"nothing":              "",
		"no JSON":              "hello",
		"a cut off event":      recordedEvent[:20],
		"trailing data":        recordedEvent + "x",
		"two events":           recordedEvent + recordedEvent,
		"an array":             "[" + recordedEvent + "]",
		"null":                 "null",
		"a text":               `"Platform_Published"`,
		"no type":              `{"Id":4,"Name":"x"}`,
		"a type of no text":    `{"Id":4,"Name":"x","Event":1}`,
		"no id":                event(`"Name":"x"`),
		"no name":              event(`"Id":4`),
		"a null name":          event(`"Id":4,"Name":null`),
		"an empty name":        event(`"Id":4,"Name":""`),
		"a blank name":         event(`"Id":4,"Name":" \t\n"`),
		"a number as a name":   event(`"Id":4,"Name":5`),
		"the id null":          event(`"Id":null,"Name":"x"`),
		"the id 0":             event(`"Id":0,"Name":"x"`),
		"the id -1":            event(`"Id":-1,"Name":"x"`),
		`the id "4"`:           event(`"Id":"4","Name":"x"`),
		"the id 1.5":           event(`"Id":1.5,"Name":"x"`),
		"the id 2147483648":    event(`"Id":2147483648,"Name":"x"`),
		"bytes of no text":     event(`"Id":4,"Name":"` + "\xff" + `"`),
		"half a surrogate":     event(`"Id":4,"Name":"\ud83d"`),
		"a name too long":      event(`"Id":4,"Name":"` + strings.Repeat("x", 501) + `"`),
		"a very long number":   event(`"Id":1` + strings.Repeat("0", 60_000) + `,"Name":"x"`),
		"more than 64 KiB":     eventOfSize(maxEvent + 1),
		"a very long bad body": fmt.Sprintf(`{"Id":"%0100000d","Name":"x","Event":"Platform_Published"}`, 4),
	} {
		t.Run(what+" is unusable, and the next is handled", func(t *testing.T) {
			p := newTestProcessor(t)
			errs := p.handle(t, body, `{"Id":5,"Name":"next","Event":"Platform_Published"}`)
			require.ErrorIs(t, errs[0], bus.ErrUnusable)
			assert.Less(t, len(errs[0].Error()), 500, "the log does not quote the whole body")
			require.NoError(t, errs[1])
			p.requirePlatforms(t, platform{ExternalID: 5, Name: "next"})
		})
	}

	t.Run("ignores another event with a short line in the log", func(t *testing.T) {
		p := newTestProcessor(t)
		p.handle(t, `{"Event":"`+strings.Repeat("x", 60_000)+`"}`)
		require.Len(t, p.logged.Lines("event ignored"), 1)
		assert.Less(t, len(p.logged.Lines("event ignored")[0]), 500)
	})

	t.Run("stores an event of 64 KiB", func(t *testing.T) {
		p := newTestProcessor(t)
		require.Equal(t, []error{nil}, p.handle(t, eventOfSize(maxEvent)))
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "x"})
	})

	t.Run("keeps a name as it was sent", func(t *testing.T) {
		p := newTestProcessor(t)
		p.handle(t, event(`"Id":4,"Name":"\u0000<b>\"\ud83d\ude80"`))
		p.requirePlatforms(t, platform{ExternalID: 4, Name: "\x00<b>\"🚀"})
	})
}

// event returns a Platform_Published event with these fields.
func event(fields string) string { return `{` + fields + `,"Event":"Platform_Published"}` }

// eventOfSize returns a valid event of so many bytes.
func eventOfSize(size int) string {
	const fields = `"Id":4,"Name":"x","Other":"%s"`
	return event(fmt.Sprintf(fields, strings.Repeat("x", size-len(event(fields))+len("%s"))))
}

// testProcessor is an event processor with its own store.
type testProcessor struct {
	*eventProcessor
	logged *testkit.LogCapture
}

func newTestProcessor(t *testing.T) *testProcessor {
	t.Helper()
	log, logged := testkit.CaptureLog()
	return &testProcessor{&eventProcessor{store: memoryStore(t), metrics: newEventMetrics(prometheus.NewRegistry()),
		tracer: noop.NewTracerProvider().Tracer(""), log: log}, logged}
}

// handle handles a batch of messages with these bodies.
func (p *testProcessor) handle(t *testing.T, bodies ...string) []error {
	t.Helper()
	batch := make([]bus.Message, len(bodies))
	for i, body := range bodies {
		batch[i] = bus.Message{Body: []byte(body)}
	}
	return p.process(t.Context(), batch)
}

func (p *testProcessor) requirePlatforms(t *testing.T, want ...platform) {
	t.Helper()
	platforms, err := allPlatforms(t.Context(), p.store)
	require.NoError(t, err)
	require.Equal(t, want, platforms)
}

// requireConsumed requires these values of events_consumed_total; the others are 0.
func (p *testProcessor) requireConsumed(t *testing.T, want map[string]int) {
	t.Helper()
	for _, result := range []string{"stored", "known", "ignored", "retried", "dead_lettered"} {
		assert.EqualValues(t, want[result], testutil.ToFloat64(p.metrics.consumed.WithLabelValues(result)), result)
	}
}

// countingStore counts the calls of upsertPlatforms; with err it fails them.
type countingStore struct {
	commandStore
	upserts int
	failing int // how many of the first calls return err
	err     error
}

func (s *countingStore) upsertPlatforms(ctx context.Context, platforms []platform) (int, error) {
	s.upserts++
	if s.upserts <= s.failing {
		return 0, s.err
	}
	return s.commandStore.upsertPlatforms(ctx, platforms)
}
