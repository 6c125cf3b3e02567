package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

const (
	declareInterval = 2 * time.Second  // between two declarations, in case something was deleted
	confirmTimeout  = 10 * time.Second // for the broker to confirm what is delivered again later
	maxRedeliveries = 20               // by the broker, of a message whose consumers die of it
)

// rabbitMQSubscriber receives from a fanout exchange of RabbitMQ, through a
// durable queue that all replicas share. It reconnects whenever the connection
// is lost.
//
// A message that was not handled goes to a queue that holds it for its delay and
// then passes it back, or with the dead letters. Its original is acknowledged
// once it is there: it may be delivered twice, and is never lost.
type rabbitMQSubscriber struct {
	url      string
	tls      tlsconfig.Files
	exchange string
	queue    string
	prefetch int
	delays   []time.Duration
	metrics  *subscriberMetrics
	log      *slog.Logger

	connected atomic.Bool
}

// NewRabbitMQSubscriber returns a Subscriber. Consumed counts the events that
// were not handled, as the results retried and dead_lettered.
func NewRabbitMQSubscriber(cfg Config, registry prometheus.Registerer, consumed *prometheus.CounterVec, log *slog.Logger) bus.Subscriber {
	s := &rabbitMQSubscriber{url: cfg.RabbitMQURL, tls: cfg.RabbitMQTLS, exchange: cfg.Exchange,
		queue: cfg.Queue, prefetch: cfg.Prefetch, delays: cfg.RetryDelays, metrics: newSubscriberMetrics(registry, consumed), log: log}
	bus.RegisterConnected(registry, s.Connected)
	return s
}

// handler is what a batch is passed to; see bus.Subscriber.
type handler = func(ctx context.Context, batch []bus.Message) []error

// Run implements bus.Subscriber.
func (s *rabbitMQSubscriber) Run(ctx context.Context, handle handler, onConnect func()) {
	var pause backoff
	for {
		err := s.receive(ctx, handle, func() {
			pause.reset()
			s.log.Info("subscriber connected", "exchange", s.exchange, "queue", s.queue)
			onConnect()
		})
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("subscriber not connected, retrying", "error", err)
		if pause.wait(ctx) != nil {
			return
		}
	}
}

// Connected implements bus.Subscriber.
func (s *rabbitMQSubscriber) Connected() bool { return s.connected.Load() }

// receive connects, calls onConnect, and handles batches until the connection is
// lost or ctx ends.
func (s *rabbitMQSubscriber) receive(ctx context.Context, handle handler, onConnect func()) error {
	connection, err := bus.Dial(ctx, s.url, s.tls, bus.StopGrace+bus.BrokerTimeout)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	defer func() { _ = connection.CloseDeadline(time.Now().Add(bus.BrokerTimeout)) }()
	topology, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	if err := s.declare(topology); err != nil {
		return err
	}
	c, err := s.consume(connection)
	if err != nil {
		return err
	}
	background.Go(c.readAhead)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	background.Go(func() { failed <- s.declareAgain(ctx, topology) })
	handling, cancelHandling := bus.WithGrace(ctx)
	defer cancelHandling()

	s.connected.Store(true)
	defer s.connected.Store(false)
	onConnect()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case first, ok := <-c.arrived:
			if !ok {
				return c.closeReason()
			}
			batch := c.batch(first, s.batchLimit())
			if err := s.settle(c, batch, handle(handling, messages(batch)), handling); err != nil {
				return err
			}
		}
	}
}

// batchLimit leaves half of what the broker sends unacknowledged for the next
// batch, which arrives while this one is handled.
func (s *rabbitMQSubscriber) batchLimit() int { return max(1, s.prefetch/2) }

// settle publishes the messages that were not handled for later, or with the
// dead letters, and then acknowledges the batch. Those that were interrupted
// are not acknowledged: the broker delivers them to another subscriber.
func (s *rabbitMQSubscriber) settle(c *consumer, batch []amqp.Delivery, errs []error, handling context.Context) error {
	last := batch[len(batch)-1]
	if errs == nil {
		return last.Ack(true)
	}
	if handling.Err() != nil {
		for i, d := range batch {
			if errs[i] == nil {
				if err := d.Ack(false); err != nil {
					return err
				}
			}
		}
		return handling.Err()
	}
	var retried, dead int
	var example error
	var moved []*amqp.DeferredConfirmation
	for i, d := range batch {
		if errs[i] == nil {
			continue
		}
		attempts := attemptsOf(d)
		queue, headers := bus.DeadQueue(s.queue), amqp.Table{bus.AttemptsHeader: int32(attempts + 1), bus.ErrorHeader: short(errs[i])}
		if errors.Is(errs[i], bus.ErrUnusable) || attempts >= len(s.delays) {
			dead++
			s.log.Error("event put with the dead letters", "message", d.MessageId, "attempts", attempts+1, "error", headers[bus.ErrorHeader])
		} else {
			retried++
			example = errs[i]
			queue = retryQueue(s.queue, s.delays[attempts])
			delete(headers, bus.ErrorHeader)
		}
		const mandatory, immediate = true, false
		confirmation, err := c.channel.PublishWithDeferredConfirm("", queue, mandatory, immediate, bus.Resend(d, headers))
		if err != nil {
			return fmt.Errorf("publish to %s: %w", queue, err)
		}
		moved = append(moved, confirmation)
	}
	if retried > 0 {
		s.log.Warn("events not handled, delivered again later", "count", retried, "error", example)
	}
	if err := c.waitFor(moved); err != nil {
		return fmt.Errorf("move events that were not handled: %w", err)
	}
	s.metrics.consumed.WithLabelValues("retried").Add(float64(retried))
	s.metrics.consumed.WithLabelValues("dead_lettered").Add(float64(dead))
	return last.Ack(true)
}

// attemptsOf returns how often a message was handled without success.
func attemptsOf(d amqp.Delivery) int {
	n, _ := d.Headers[bus.AttemptsHeader].(int32)
	return int(n)
}

// short returns the text of an error for a header or the log.
func short(err error) string {
	return strings.ToValidUTF8(fmt.Sprintf("%.500v", err), "?")
}

// messages returns what the handler is passed.
func messages(batch []amqp.Delivery) []bus.Message {
	messages := make([]bus.Message, len(batch))
	for i, d := range batch {
		messages[i] = bus.Message{ID: d.MessageId, Type: d.Type, Time: d.Timestamp, Body: d.Body, Headers: map[string]string{}}
		for name, value := range d.Headers {
			if text, ok := value.(string); ok && !strings.HasPrefix(name, "x-") {
				messages[i].Headers[name] = text
			}
		}
	}
	return messages
}

// consumer is a channel that events come from.
type consumer struct {
	channel    *amqp.Channel
	deliveries <-chan amqp.Delivery
	arrived    chan amqp.Delivery // has room for all that are not acknowledged
	returned   chan amqp.Return   // has room for all that are moved
	lost       chan *amqp.Error
}

// consume starts to consume.
func (s *rabbitMQSubscriber) consume(connection *amqp.Connection) (*consumer, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirmations: %w", err)
	}
	if err := channel.Qos(s.prefetch, 0, false); err != nil {
		return nil, fmt.Errorf("set the prefetch count: %w", err)
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	returned := channel.NotifyReturn(make(chan amqp.Return, s.prefetch))
	const autoAck, exclusive, noLocal, noWait = false, false, false, false
	deliveries, err := channel.Consume(s.queue, "", autoAck, exclusive, noLocal, noWait, nil)
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return &consumer{channel, deliveries, make(chan amqp.Delivery, s.prefetch), returned, lost}, nil
}

// readAhead takes deliveries from the library, which hands out one at a time,
// until there are no more.
func (c *consumer) readAhead() {
	defer close(c.arrived)
	for d := range c.deliveries {
		c.arrived <- d
	}
}

// batch returns the first delivery and those that have arrived behind it.
func (c *consumer) batch(first amqp.Delivery, limit int) []amqp.Delivery {
	batch := []amqp.Delivery{first}
	for len(batch) < limit {
		select {
		case d, ok := <-c.arrived:
			if !ok {
				return batch
			}
			batch = append(batch, d)
		default:
			return batch
		}
	}
	return batch
}

// waitFor waits until the broker has confirmed that it has the messages in a queue.
func (c *consumer) waitFor(published []*amqp.DeferredConfirmation) error {
	ctx, cancel := context.WithTimeout(context.Background(), confirmTimeout)
	defer cancel()
	for _, confirmation := range published {
		ack, err := confirmation.WaitContext(ctx)
		if err != nil {
			return err
		}
		if !ack {
			return errors.New("not confirmed by the broker")
		}
	}
	select {
	case message := <-c.returned: // before it was confirmed
		return fmt.Errorf("there is no queue %s", message.RoutingKey)
	default:
		return nil
	}
}

// closeReason returns why there are no more deliveries: the connection was lost
// or, when it was not, the queue was deleted.
func (c *consumer) closeReason() error {
	select {
	case err := <-c.lost:
		if err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
	default:
	}
	return errors.New("the queue was deleted")
}
