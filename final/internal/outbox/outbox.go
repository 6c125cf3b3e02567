// Package outbox sends the events that a service has stored with its data to the bus.
// It does not know what they report. The service's store implements Store; a Relay
// publishes what is pending, one of all replicas at a time.
package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/bus"
)

// PublishedRetention is how long a published event is kept, for a look at what
// was sent. PruneLimit bounds the rows of one delete, which others wait for.
const (
	PublishedRetention = time.Hour
	PruneLimit         = 1000
)

// LeaseSlack is more than one statement waits for another.
const LeaseSlack = time.Minute

// Store is what the relay needs of a database. The service stores each event
// in the transaction of the change that it reports; the relay passes it on to the
// bus.
type Store interface {
	// PendingEvents returns up to limit events with ids above after that are not
	// marked as published, in the order in which they are to be published.
	PendingEvents(ctx context.Context, after int64, limit int) ([]Event, error)
	// MarkPublished marks these events as published.
	MarkPublished(ctx context.Context, ids []int64) error
	// Stats returns how many events are pending and how old the first is.
	Stats(ctx context.Context) (pending int, oldest time.Duration, err error)
	// Prune deletes published events after PublishedRetention, and what else the
	// service no longer needs, up to PruneLimit rows of each. It reports whether
	// there may be more.
	Prune(ctx context.Context) (more bool, err error)

	// AcquireLease gives the lease to owner for ttl, or renews it, and reports
	// whether owner has it now. No other owner gets it before ttl has passed since
	// the call began, or owner has released it. It is the database's clock that
	// measures ttl. A lease that ends LeaseSlack later than any could is ignored:
	// that clock was set back.
	AcquireLease(ctx context.Context, owner string, ttl time.Duration) (bool, error)
	// ReleaseLease ends the lease if owner has it.
	ReleaseLease(ctx context.Context, owner string) error
}

// Event is a row of the outbox.
type Event struct {
	ID      int64
	Message bus.Message
}

// NewMessage returns an event as a message without a time: the database adds that.
// ctx is the request's, whose trace the event continues, and whose span names the event.
func NewMessage(ctx context.Context, kind string, body []byte) bus.Message {
	m := bus.Message{ID: uuid.NewString(), Type: kind, Body: body, Headers: traceHeaders(ctx)}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.SetAttributes(attribute.String("messaging.message.id", m.ID))
	}
	return m
}

// maxTraceState is how much of a tracestate has to be passed on. The client
// chose it: a longer one is left out.
const maxTraceState = 512

// traceHeaders returns the traceparent and tracestate of ctx. Both may be missing.
func traceHeaders(ctx context.Context) map[string]string {
	headers := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, headers)
	if len(headers["tracestate"]) > maxTraceState {
		delete(headers, "tracestate")
	}
	return headers
}

// ScanEvents reads rows of id, message_id, type, body, traceparent, tracestate
// and created_at, in milliseconds since 1970, to the end, and closes them.
func ScanEvents(rows *sql.Rows) ([]Event, error) {
	defer rows.Close()
	var events []Event
	for rows.Next() {
		var e Event
		var traceparent, tracestate string
		var createdAt int64
		err := rows.Scan(&e.ID, &e.Message.ID, &e.Message.Type, &e.Message.Body, &traceparent, &tracestate, &createdAt)
		if err != nil {
			return nil, fmt.Errorf("read pending events: %w", err)
		}
		e.Message.Time = time.UnixMilli(createdAt)
		e.Message.Headers = map[string]string{}
		if traceparent != "" {
			e.Message.Headers["traceparent"] = traceparent
		}
		if tracestate != "" {
			e.Message.Headers["tracestate"] = tracestate
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	return events, nil
}

// JSONIDs returns ids as a JSON array: one parameter, however many they are.
func JSONIDs(ids []int64) string {
	text, _ := json.Marshal(ids) // integers never fail
	return string(text)
}
