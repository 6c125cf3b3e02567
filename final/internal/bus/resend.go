package bus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Headers that say what became of a message that could not be handled.
const (
	ErrorHeader    = "x-error"            // why it was dead-lettered
	AttemptsHeader = "x-attempts"         // how often it was handled without success
	HeadersHeader  = "x-original-headers" // as text: those of its headers that are not sent again
)

// maxHeader is the size in bytes of the longest header that is sent again: all
// of a message's headers have to fit into one frame of AMQP.
const maxHeader = 8 << 10

// keptHeaders returns the headers that are sent again. A header is an
// instruction to the broker or to a plugin when it has the right name. CC and
// BCC, for example, name further queues. So only headers that are known to be
// harmless are kept.
func keptHeaders() []string { return []string{"traceparent", "tracestate", HeadersHeader} }

// ofTheWay reports whether a header says what became of the message on its way,
// rather than what its publisher sent.
func ofTheWay(name string) bool {
	return name == ErrorHeader || name == AttemptsHeader || name == "x-delivery-count" || name == "x-death" ||
		strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-")
}

// Resend returns the message of a delivery, to be published again with its
// original body and properties and with the headers in added. Of its own headers
// it keeps the trace context. HeadersHeader quotes the others, as text that the
// broker does not interpret, except those that say what became of the message.
//
// The properties expiration and user-id are not kept: they bind the publisher.
func Resend(d amqp.Delivery, added amqp.Table) amqp.Publishing {
	headers, quoted := amqp.Table{}, map[string]any{}
	for name, value := range d.Headers {
		text, isText := value.(string)
		switch {
		case isText && len(text) <= maxHeader && slices.Contains(keptHeaders(), name):
			headers[name] = text
		case !ofTheWay(name):
			quoted[name] = value
		}
	}
	if _, done := headers[HeadersHeader]; !done && len(quoted) > 0 {
		headers[HeadersHeader] = quote(quoted, maxHeader)
	}
	for name, value := range added {
		headers[name] = value
	}
	return amqp.Publishing{
		Headers:         headers,
		ContentType:     d.ContentType,
		ContentEncoding: d.ContentEncoding,
		DeliveryMode:    amqp.Persistent,
		Priority:        d.Priority,
		CorrelationId:   d.CorrelationId,
		ReplyTo:         d.ReplyTo,
		MessageId:       d.MessageId,
		Timestamp:       d.Timestamp,
		Type:            d.Type,
		AppId:           d.AppId,
		Body:            d.Body,
	}
}

// quote returns headers as text of at most limit bytes.
func quote(headers map[string]any, limit int) string {
	text := strings.ToValidUTF8(fmt.Sprint(headers), "?")
	return strings.ToValidUTF8(text[:min(len(text), limit)], "") // without half a character
}

// maxUnconfirmed is how many messages of a Sender may wait for their confirmation.
const maxUnconfirmed = 1000

// Sender publishes messages to queues by their names, each confirmed by the
// broker. One goroutine may use it. After an error it cannot be used again.
type Sender struct {
	channel  *amqp.Channel
	lost     <-chan *amqp.Error
	returned <-chan amqp.Return // has room for all that wait, so that the library never does
	missing  map[string]bool    // queues that do not exist
}

// NewSender returns a Sender that publishes over a channel of the connection.
// While the broker has an alarm it reads nothing more from a connection that has
// published, acknowledgements included, so the connection should do nothing else.
func NewSender(connection *amqp.Connection) (*Sender, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirmations: %w", err)
	}
	return &Sender{
		channel:  channel,
		lost:     channel.NotifyClose(make(chan *amqp.Error, 1)),
		returned: channel.NotifyReturn(make(chan amqp.Return, maxUnconfirmed)),
		missing:  map[string]bool{},
	}, nil
}

// Send publishes a message to a queue. The caller must call wait, in the order of
// the messages and before the 1000th after it is sent: it returns nil once the
// broker has confirmed the message, and otherwise an error that says why not, such
// as that there is no queue of this name. It waits until ctx ends: an alarm of the
// broker may last for hours, and a message that is sent again then arrives twice.
func (s *Sender) Send(queue string, message amqp.Publishing) (wait func(ctx context.Context) error, err error) {
	const mandatory, immediate = true, false
	confirmation, err := s.channel.PublishWithDeferredConfirm("", queue, mandatory, immediate, message)
	if err != nil {
		if lost := Lost(s.lost); lost != nil {
			err = lost
		}
		return nil, fmt.Errorf("publish to queue %s: %w", queue, err)
	}
	return func(ctx context.Context) error {
		if err := s.wait(ctx, queue, confirmation); err != nil {
			return fmt.Errorf("publish to queue %s: %w", queue, err)
		}
		return nil
	}, nil
}

func (s *Sender) wait(ctx context.Context, queue string, confirmation *amqp.DeferredConfirmation) error {
	ack, err := confirmation.WaitContext(ctx)
	if err != nil {
		return fmt.Errorf("wait for the broker's confirmation: %w", err)
	}
	for waiting := true; waiting; { // a message is returned before it is confirmed
		select {
		case message, ok := <-s.returned:
			if waiting = ok; ok {
				s.missing[message.RoutingKey] = true
			}
		default:
			waiting = false
		}
	}
	switch lost := Lost(s.lost); {
	case s.missing[queue]:
		return fmt.Errorf("there is no queue %s", queue)
	case !ack && lost != nil: // the library then says no to every message that waits
		return lost
	case !ack:
		return errors.New("not confirmed by the broker")
	}
	return nil
}
