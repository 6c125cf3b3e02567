package platformservice

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/propagation"

	"microcomm/final/internal/bus"
)

// publishedRetention is how long a published event is kept, for a look at what
// was sent. pruneLimit bounds the rows of one delete, which others wait for.
const (
	publishedRetention = time.Hour
	pruneLimit         = 1000
)

// leaseSlack is more than one statement waits for another.
const leaseSlack = time.Minute

// outboxStore is what the relay needs of a database. The service stores each event
// in the transaction of the change that it reports; the relay takes it from there
// to the bus.
type outboxStore interface {
	// pendingEvents returns up to limit events with ids above after that are not
	// marked as published, in the order in which they are to be published.
	pendingEvents(ctx context.Context, after int64, limit int) ([]outboxEvent, error)
	// markPublished marks these events as published.
	markPublished(ctx context.Context, ids []int64) error
	// outboxStats returns how many events are pending and how old the first is.
	outboxStats(ctx context.Context) (pending int, oldest time.Duration, err error)
	// prune deletes published events after publishedRetention, and idempotency
	// keys after IdempotencyRetention, up to pruneLimit of each. It reports
	// whether there may be more.
	prune(ctx context.Context) (more bool, err error)

	// acquireLease gives the lease to owner for ttl, or renews it, and reports
	// whether owner has it now. Nobody else gets it before ttl has passed since
	// the call began, or owner has released it. It is the database's clock that
	// measures ttl. A lease that ends leaseSlack later than any could is ignored:
	// that clock was set back.
	acquireLease(ctx context.Context, owner string, ttl time.Duration) (bool, error)
	// releaseLease ends the lease if owner has it.
	releaseLease(ctx context.Context, owner string) error
}

// outboxEvent is a row of the outbox.
type outboxEvent struct {
	id      int64
	message bus.Message
}

// NewMessage returns an event as a message without a time: the database adds that.
// ctx is the request's, whose trace the event continues.
func NewMessage(ctx context.Context, kind string, body []byte) bus.Message {
	return bus.Message{ID: uuid.NewString(), Type: kind, Body: body, Headers: traceHeaders(ctx)}
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

// scanEvents reads rows of id, message_id, type, body, traceparent, tracestate
// and created_at, in milliseconds since 1970, to the end, and closes them.
func scanEvents(rows *sql.Rows) ([]outboxEvent, error) {
	defer rows.Close()
	var events []outboxEvent
	for rows.Next() {
		var e outboxEvent
		var traceparent, tracestate string
		var createdAt int64
		err := rows.Scan(&e.id, &e.message.ID, &e.message.Type, &e.message.Body, &traceparent, &tracestate, &createdAt)
		if err != nil {
			return nil, fmt.Errorf("read pending events: %w", err)
		}
		e.message.Time = time.UnixMilli(createdAt)
		e.message.Headers = map[string]string{}
		if traceparent != "" {
			e.message.Headers["traceparent"] = traceparent
		}
		if tracestate != "" {
			e.message.Headers["tracestate"] = tracestate
		}
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read pending events: %w", err)
	}
	return events, nil
}

// jsonIDs returns ids as a JSON array: one parameter, however many they are.
func jsonIDs(ids []int64) string {
	text, _ := json.Marshal(ids) // integers never fail
	return string(text)
}
