// Package bus carries events from the service that publishes them to those that
// subscribe: over RabbitMQ, or in memory within one process.
package bus

import (
	"context"
	"errors"
	"time"
)

// Message is one event on its way from the service that publishes it to those
// that subscribe.
type Message struct {
	ID      string            // unique for each event, and the same one when the event is sent again
	Type    string            // Platform_Published
	Time    time.Time         // when the event happened
	Body    []byte            // JSON
	Headers map[string]string // traceparent and tracestate (W3C Trace Context)
}

// Publisher sends messages to the bus.
type Publisher interface {
	// Publish sends the messages in order and waits until the bus has confirmed
	// each of them. It returns how many, counted from the first, are confirmed. If
	// that is not all of them, the error says why; the others may or may not have
	// been sent, and the caller must send them again.
	Publish(ctx context.Context, messages []Message) (confirmed int, err error)
	// Connected reports whether there is a connection to the bus now.
	Connected() bool
	// Close ends the connection.
	Close()
}

// ErrNoQueue is returned by Publish when no queue was bound to the exchange: the
// message is stored nowhere, and must be sent again.
var ErrNoQueue = errors.New("no queue takes the message")

// ErrRefused is returned by Publish when the broker refuses a message. The queues
// that have room got it anyway, and will get it again.
var ErrRefused = errors.New("refused by the broker: a queue at the exchange, perhaps another subscriber's, is full or unavailable")

// Subscriber receives messages from the bus.
type Subscriber interface {
	// Run passes the messages that have arrived to handle, in batches and in
	// order, until ctx ends; a batch that is being handled is finished first.
	//
	// handle returns an error for each message, or nil when all were handled. A
	// message without an error is done. One with an error that is ErrUnusable is
	// put with the dead letters at once; any other error has it delivered again
	// after a growing delay, a bounded number of times, and then put with the
	// dead letters. Messages behind it do not wait for it.
	//
	// A handle that does not return within StopGrace after ctx has ended finds its
	// own context ended, and its messages with an error are delivered again, as
	// are those of a subscriber that dies.
	//
	// onConnect is called whenever the subscriber has connected.
	Run(ctx context.Context, handle func(ctx context.Context, batch []Message) []error, onConnect func())
	// Connected reports whether there is a connection to the bus now.
	Connected() bool
}

// ErrUnusable marks the error of a message that no repetition makes usable.
var ErrUnusable = errors.New("unusable message")

// RetryDelays returns the delays before a message is delivered again, unless set
// otherwise: one for each attempt after the first.
func RetryDelays() []time.Duration {
	return []time.Duration{time.Second, 10 * time.Second, time.Minute}
}
