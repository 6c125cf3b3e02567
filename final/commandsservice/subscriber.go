package commandsservice

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

const (
	declareInterval = 2 * time.Second // between two declarations, in case something was deleted
	maxRedeliveries = 20              // by the broker, of a message whose consumers die of it
	quietAfter      = time.Second     // without a message; the next one is then received alone
)

// rabbitMQSubscriber receives from a fanout exchange of RabbitMQ, through a
// durable queue that all replicas share. It reconnects whenever the connection
// is lost.
//
// A message that the library cannot read ends the connection, and the broker
// then delivers all that were on their way once more, up to maxRedeliveries times.
// So after a lost connection the subscriber receives that many one at a time: the
// unreadable one is dead-lettered by the broker, and no other with it.
type rabbitMQSubscriber struct {
	url      string
	tls      tlsconfig.Files
	exchange string
	queue    string
	prefetch int
	delays   []time.Duration
	limit    int // of redeliveries by the broker, maxRedeliveries
	metrics  *subscriberMetrics
	log      *slog.Logger

	connected atomic.Bool
}

// NewRabbitMQSubscriber returns a Subscriber. Consumed counts the events that
// were not handled, as the results retried and dead_lettered.
func NewRabbitMQSubscriber(cfg Config, registry prometheus.Registerer, consumed *prometheus.CounterVec, log *slog.Logger) bus.Subscriber {
	s := &rabbitMQSubscriber{url: cfg.RabbitMQURL, tls: cfg.RabbitMQTLS, exchange: cfg.Exchange,
		queue: cfg.Queue, prefetch: cfg.Prefetch, delays: cfg.RetryDelays, limit: maxRedeliveries,
		metrics: newSubscriberMetrics(registry, consumed), log: log}
	bus.RegisterConnected(registry, s.Connected)
	return s
}

// handler is what a batch is passed to; see bus.Subscriber.
type handler = func(ctx context.Context, batch []bus.Message) []error

// Run implements bus.Subscriber.
func (s *rabbitMQSubscriber) Run(ctx context.Context, handle handler, onConnect func()) {
	p := pace{prefetch: s.prefetch}
	p.first()
	for {
		err := s.receive(ctx, &p, handle, func() {
			s.log.Info("subscriber connected", "exchange", s.exchange, "queue", s.queue)
			onConnect()
		})
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("subscriber not connected, retrying", "error", err)
		if p.pause.Wait(ctx) != nil {
			return
		}
	}
}

// Connected implements bus.Subscriber.
func (s *rabbitMQSubscriber) Connected() bool { return s.connected.Load() }

// pace says how fast the subscriber connects and receives.
type pace struct {
	pause    backoff.Backoff // until the next connection; an acknowledgement resets it, a mere connection does not
	alone    int             // messages that are still to be received one at a time
	prefetch int             // how many are received at once afterwards
}

// limit returns how many messages the broker may send ahead now.
func (p *pace) limit() int {
	if p.alone > 0 {
		return 1
	}
	return p.prefetch
}

// first has the next message received alone: nothing is known of the size of those
// that arrive now, and prefetch of the largest would not fit into memory.
func (p *pace) first() { p.alone = max(1, p.alone) }

// slow has as many messages received one at a time as may have been on their way.
func (p *pace) slow() { p.alone = p.prefetch }

// settled counts a batch. One with messages too large for an event may be
// followed by more of them.
func (p *pace) settled(batch []amqp.Delivery, acknowledged int) {
	if acknowledged > 0 {
		p.pause.Reset()
	}
	p.alone = max(0, p.alone-len(batch))
	if slices.ContainsFunc(batch, func(d amqp.Delivery) bool { return len(d.Body) > maxEvent }) {
		p.slow()
	}
}

// receive connects, calls onConnect, and handles batches until the connection is
// lost or ctx ends.
func (s *rabbitMQSubscriber) receive(ctx context.Context, p *pace, handle handler, onConnect func()) error {
	connection, err := bus.Dial(ctx, s.url, s.tls, bus.StopGrace+bus.BrokerTimeout)
	if err != nil {
		return err
	}
	var background sync.WaitGroup
	defer background.Wait()
	defer bus.Close(connection)
	topology, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	if err := s.declare(topology); err != nil {
		return err
	}
	c, err := newConsumer(connection, s.queue, s.prefetch)
	if err != nil {
		return err
	}
	defer c.reading.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := c.consume(ctx, p.limit()); err != nil {
		return err
	}
	failed := make(chan error, 1)
	background.Go(func() { failed <- s.declareAgain(ctx, topology) })

	s.connected.Store(true)
	defer s.connected.Store(false)
	onConnect()
	handling, cancelHandling := bus.WithGrace(ctx)
	defer cancelHandling()
	m := s.startMover(handling)
	err = s.handleBatches(ctx, handling, c, m, p, handle, failed)
	if ctx.Err() == nil {
		p.slow()
		cancelHandling() // what is moved now could not be acknowledged
	}
	m.finish()
	return err
}

// handleBatches handles batches until there are no more, ctx ends, or failed has an error.
func (s *rabbitMQSubscriber) handleBatches(ctx, handling context.Context, c *consumer, m *mover, p *pace, handle handler, failed <-chan error) error {
	quiet := time.NewTimer(quietAfter)
	defer quiet.Stop()
	for {
		stuck := false // a message that is still to be moved keeps the next one from arriving
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case err := <-c.lost:
			return bus.LostBy(err)
		case _, ok := <-c.deleted:
			if !ok { // the connection is lost
				return bus.LostBy(<-c.lost)
			}
			return fmt.Errorf("queue %s was deleted", s.queue)
		case first := <-c.arrived:
			// Half of what the broker sends ahead is left for the next batch, which
			// arrives while this one is handled.
			batch := c.batch(first, max(1, p.limit()/2))
			acknowledged, err := settle(m, batch, handle(handling, messages(batch)), handling)
			if err != nil {
				return err
			}
			p.settled(batch, acknowledged)
			stuck = p.limit() == 1 && acknowledged < len(batch) && m.room()
			quiet.Reset(quietAfter)
		case <-quiet.C:
			p.first()
		}
		if stuck || p.limit() != c.limit {
			if err := c.consume(ctx, p.limit()); err != nil {
				return err
			}
		}
	}
}

// settle acknowledges the messages that were handled, and returns how many. The
// others it passes to the mover. When the handler was interrupted, they are not
// acknowledged: the broker delivers them to another subscriber.
func settle(m *mover, batch []amqp.Delivery, errs []error, handling context.Context) (acknowledged int, err error) {
	handled := !slices.ContainsFunc(errs, func(err error) bool { return err != nil })
	if handled && m.idle() {
		return len(batch), batch[len(batch)-1].Ack(true) // and all before it
	}
	for i, d := range batch {
		switch {
		case handled || errs[i] == nil:
			if err := d.Ack(false); err != nil {
				return acknowledged, err
			}
			acknowledged++
		case handling.Err() == nil:
			m.add(d, errs[i])
		}
	}
	return acknowledged, handling.Err()
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
	channel *amqp.Channel
	queue   string
	tag     int // of the latest of its consumers, as the broker calls them
	limit   int // of messages that the broker sends ahead
	arrived chan amqp.Delivery
	lost    chan *amqp.Error
	deleted chan string // has the tag of a consumer whose queue was deleted
	reading sync.WaitGroup
	read    chan struct{} // closed when all that came to the consumer before has arrived
}

// newConsumer returns a consumer of a queue that does not consume yet. It has
// room for as many messages as the broker may send ahead.
func newConsumer(connection *amqp.Connection, queue string, prefetch int) (*consumer, error) {
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	c := &consumer{channel: channel, queue: queue, arrived: make(chan amqp.Delivery, prefetch), read: make(chan struct{}),
		lost: channel.NotifyClose(make(chan *amqp.Error, 1)), deleted: channel.NotifyCancel(make(chan string, 1))}
	close(c.read)
	return c, nil
}

// consume starts to consume until ctx ends, with a limit of messages that are
// sent ahead. It ends what consumed before; messages that came to that and are not
// acknowledged yet do not count.
func (c *consumer) consume(ctx context.Context, limit int) error {
	if c.tag > 0 {
		if err := c.channel.Cancel(strconv.Itoa(c.tag), false); err != nil {
			return fmt.Errorf("stop consuming: %w", err)
		}
	}
	c.tag++
	c.limit = limit
	if err := c.channel.Qos(limit, 0, false); err != nil {
		return fmt.Errorf("set the prefetch count: %w", err)
	}
	const autoAck, exclusive, noLocal, noWait = false, false, false, false
	deliveries, err := c.channel.Consume(c.queue, strconv.Itoa(c.tag), autoAck, exclusive, noLocal, noWait, nil)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	before, read := c.read, make(chan struct{})
	c.read = read
	c.reading.Go(func() {
		defer close(read)
		<-before // so that they stay in order; it ends with ctx, too
		c.readAhead(ctx, deliveries)
	})
	return nil
}

// readAhead takes deliveries from the library, which hands out one at a time,
// until there are no more or ctx ends.
func (c *consumer) readAhead(ctx context.Context, deliveries <-chan amqp.Delivery) {
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return
			}
			select {
			case c.arrived <- d:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// batch returns the first delivery and those that have arrived behind it.
func (c *consumer) batch(first amqp.Delivery, limit int) []amqp.Delivery {
	batch := []amqp.Delivery{first}
	for len(batch) < limit {
		select {
		case d := <-c.arrived:
			batch = append(batch, d)
		default:
			return batch
		}
	}
	return batch
}

// subscriberMetrics shows what becomes of events that are not handled.
type subscriberMetrics struct {
	deadLetters prometheus.Gauge
	consumed    *prometheus.CounterVec // by result; the event processor counts the other results
}

func newSubscriberMetrics(registry prometheus.Registerer, consumed *prometheus.CounterVec) *subscriberMetrics {
	m := &subscriberMetrics{
		deadLetters: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "dead_letter_events", Help: "Events in the queue of dead letters, some seconds ago."}),
		consumed: consumed,
	}
	registry.MustRegister(m.deadLetters)
	return m
}
