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
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

const (
	declareInterval = 2 * time.Second // between two declarations, in case something was deleted
	maxRedeliveries = 20              // by the broker, of a message that kills its consumers
	quietAfter      = time.Second     // without a message; the next one is then received alone
)

// rabbitMQSubscriber receives from a fanout exchange of RabbitMQ, through a
// durable queue that all replicas share. It reconnects whenever the connection
// is lost.
//
// A message that the library cannot read ends the connection. The broker then
// redelivers every message that was on its way, up to maxRedeliveries times. So
// after a lost connection the subscriber receives as many messages one at a time:
// the broker dead-letters the unreadable one, and no other with it.
type rabbitMQSubscriber struct {
	url      string
	tls      tlsconfig.Files
	exchange string
	queue    string
	prefetch int
	delays   []time.Duration
	limit    int // of redeliveries by the broker, maxRedeliveries
	metrics  *subscriberMetrics
	tracer   trace.Tracer
	log      *slog.Logger

	connected atomic.Bool
}

// NewRabbitMQSubscriber returns a Subscriber. In consumed it counts the events
// that were not handled, by the results retried and dead_lettered. It makes a span with
// tracer when an event is settled.
func NewRabbitMQSubscriber(cfg Config, registry prometheus.Registerer, consumed *prometheus.CounterVec, tracer trace.Tracer, log *slog.Logger) bus.Subscriber {
	s := &rabbitMQSubscriber{url: cfg.RabbitMQURL, tls: cfg.RabbitMQTLS, exchange: cfg.Exchange,
		queue: cfg.Queue, prefetch: cfg.Prefetch, delays: cfg.RetryDelays, limit: maxRedeliveries,
		metrics: newSubscriberMetrics(registry, consumed), tracer: tracer, log: log}
	bus.RegisterConnected(registry, s.Connected)
	return s
}

// handler handles a batch; see bus.Subscriber.
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

// limit returns how many unacknowledged messages the broker may have sent now.
func (p *pace) limit() int {
	if p.alone > 0 {
		return 1
	}
	return p.prefetch
}

// first has the next message received alone: the size of the messages that arrive
// now is unknown, and prefetch of the largest would not fit into memory.
func (p *pace) first() { p.alone = max(1, p.alone) }

// slow has the next messages received one at a time, as many as may have been on
// their way.
func (p *pace) slow() { p.alone = p.prefetch }

// settled counts a batch. A message too large for an event may be followed by more
// of them, so then it is slow.
func (p *pace) settled(batch []delivery, acknowledged int) {
	if acknowledged > 0 {
		p.pause.Reset()
	}
	p.alone = max(0, p.alone-len(batch))
	if slices.ContainsFunc(batch, func(d delivery) bool { return len(d.Body) > maxEvent }) {
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
	topology, c, err := s.open(connection)
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

// open declares everything, and opens the channel to consume on. It also returns
// the one for declarations.
func (s *rabbitMQSubscriber) open(connection *amqp.Connection) (topology *amqp.Channel, c *consumer, err error) {
	topology, err = connection.Channel()
	if err != nil {
		return nil, nil, fmt.Errorf("open channel: %w", err)
	}
	if err := s.declare(topology); err != nil {
		return nil, nil, err
	}
	c, err = newConsumer(connection, s.queue, s.prefetch)
	return topology, c, err
}

// handleBatches handles batches until the connection is lost, ctx ends, or failed
// has an error.
func (s *rabbitMQSubscriber) handleBatches(ctx, handling context.Context, c *consumer, m *mover, p *pace, handle handler, failed <-chan error) error {
	quiet := time.NewTimer(quietAfter)
	defer quiet.Stop()
	for {
		stuck := false // the broker waits for a message that has yet to be moved
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
			// The other half of what the broker may send is the next batch, which
			// arrives while this one is handled.
			batch := c.batch(first, max(1, p.limit()/2))
			for i, err := range handle(handling, messages(batch)) {
				batch[i].err = err
			}
			acknowledged, err := m.settle(handling, batch)
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

// settle acknowledges the messages of a batch that were handled, and returns how
// many. The others it moves, unless handling was interrupted. Then they stay
// unacknowledged, and the broker delivers them to another subscriber.
func (m *mover) settle(handling context.Context, batch []delivery) (acknowledged int, err error) {
	began := time.Now()
	failed := slices.ContainsFunc(batch, func(d delivery) bool { return d.err != nil })
	if !failed && m.idle() {
		if err := batch[len(batch)-1].Ack(true); err != nil { // and all before it
			return 0, err
		}
		for _, d := range batch {
			m.settled(began, d, bus.Acknowledged, 0)
		}
		return len(batch), nil
	}
	for _, d := range batch {
		switch {
		case d.err == nil:
			if err := d.Ack(false); err != nil {
				return acknowledged, err
			}
			acknowledged++
			m.settled(began, d, bus.Acknowledged, 0)
		case handling.Err() == nil:
			m.add(d)
		}
	}
	return acknowledged, handling.Err()
}

// settled makes the span of a delivery that the broker has been told about since began.
func (s *rabbitMQSubscriber) settled(began time.Time, d delivery, outcome string, attempts int) {
	if d.err == nil && d.Headers["traceparent"] == nil {
		return // without tracing that is every one, and costs nothing
	}
	bus.Settled(s.tracer, began, messages([]delivery{d})[0], outcome, attempts, d.err)
}

// messages returns what the handler is passed.
func messages(batch []delivery) []bus.Message {
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

// consumer is a channel that events arrive on.
type consumer struct {
	channel *amqp.Channel
	queue   string
	tag     int // of the current consumer, as the broker calls it
	limit   int // of unacknowledged messages, until the broker sends no more
	arrived chan amqp.Delivery
	lost    chan *amqp.Error
	deleted chan string // receives the tag of a consumer whose queue was deleted
	reading sync.WaitGroup
	read    chan struct{} // closed when everything sent to the consumer before has arrived
}

// newConsumer returns a consumer of a queue that does not consume yet. It has
// room for as many messages as the broker may send.
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

// consume starts to consume until ctx ends, with at most limit unacknowledged
// messages. It ends the consumer before; messages that were sent to that one and
// are not acknowledged yet do not count.
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
		<-before // keeps the order; closed when ctx ends, too
		c.readAhead(ctx, deliveries)
	})
	return nil
}

// readAhead reads deliveries from the library, which hands them out one at a time,
// until there are no more or ctx ends. So those that have arrived can be handled
// together.
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

// batch returns the first delivery and those that have arrived after it, at most
// limit of them.
func (c *consumer) batch(first amqp.Delivery, limit int) []delivery {
	batch := []delivery{{Delivery: first}}
	for len(batch) < limit {
		select {
		case d := <-c.arrived:
			batch = append(batch, delivery{Delivery: d})
		default:
			return batch
		}
	}
	return batch
}

// subscriberMetrics show what becomes of events that are not handled.
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
