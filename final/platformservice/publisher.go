package platformservice

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	maxUnconfirmed  = 1000             // messages that wait for their confirmation together
	confirmTimeout  = 10 * time.Second // for all of them
	declareInterval = 2 * time.Second  // between two declarations, in case the exchange was deleted
	legacyExchange  = "trigger"        // of the .NET services
)

var (
	errNotConnected   = errors.New("not connected to the broker")
	errConnectionLost = errors.New("connection to the broker lost")
)

// rabbitMQPublisher publishes to a fanout exchange of RabbitMQ. It connects in
// the background, and reconnects whenever the connection is lost.
type rabbitMQPublisher struct {
	url         string
	tls         tlsconfig.Files
	exchange    string
	bindTrigger bool
	log         *slog.Logger
	stop        context.CancelFunc
	done        sync.WaitGroup

	connected atomic.Bool // also while the broker blocks publishers

	publishing sync.Mutex // held by Publish: one batch at a time

	mu   sync.Mutex
	link *brokerLink // nil while nothing can be published
}

// brokerLink is a connection, with a channel in confirm mode and one for
// declarations, because a call may have to wait while the broker blocks publishers.
type brokerLink struct {
	connection *amqp.Connection
	topology   *amqp.Channel
	channel    *amqp.Channel
	lost       <-chan *amqp.Error
	blocked    <-chan amqp.Blocking
	returned   <-chan amqp.Return // has room for all that are unconfirmed, so that the library never waits
}

// NewRabbitMQPublisher returns a Publisher that starts to connect. The caller must
// close it.
func NewRabbitMQPublisher(cfg Config, registry prometheus.Registerer, log *slog.Logger) bus.Publisher {
	ctx, stop := context.WithCancel(context.Background())
	p := &rabbitMQPublisher{url: cfg.RabbitMQURL, tls: cfg.RabbitMQTLS, exchange: cfg.Exchange,
		bindTrigger: cfg.BindTrigger, log: log, stop: stop}
	bus.RegisterConnected(registry, p.Connected)
	p.done.Go(func() { p.run(ctx) })
	return p
}

// Publish implements bus.Publisher. It does not wait for a broker that is down.
func (p *rabbitMQPublisher) Publish(ctx context.Context, messages []bus.Message) (int, error) {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	confirmed := 0
	for confirmed < len(messages) {
		n, err := p.publishTogether(ctx, messages[confirmed:min(len(messages), confirmed+maxUnconfirmed)])
		confirmed += n
		if err != nil {
			return confirmed, fmt.Errorf("publish: %w", err)
		}
	}
	return confirmed, nil
}

// Connected implements bus.Publisher.
func (p *rabbitMQPublisher) Connected() bool { return p.connected.Load() }

// sentMessage is a message that is not confirmed yet.
type sentMessage struct {
	id           string
	confirmation *amqp.DeferredConfirmation
}

// publishTogether sends all messages, and then waits for the broker's response to
// each, in order.
func (p *rabbitMQPublisher) publishTogether(ctx context.Context, messages []bus.Message) (confirmed int, err error) {
	p.mu.Lock()
	link := p.link
	p.mu.Unlock()
	if link == nil {
		return 0, errNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	sent, sendErr := link.send(ctx, p.exchange, messages)
	confirmed, err = link.waitConfirmed(ctx, sent) // those before one that cannot be sent may get through
	return confirmed, cmp.Or(err, sendErr)
}

// send sends messages up to the first that cannot be sent.
func (l *brokerLink) send(ctx context.Context, exchange string, messages []bus.Message) (sent []sentMessage, err error) {
	for _, m := range messages {
		const mandatory, immediate = true, false
		confirmation, err := l.channel.PublishWithDeferredConfirmWithContext(ctx, exchange, "", mandatory, immediate, publishing(m))
		if err != nil {
			return sent, err
		}
		sent = append(sent, sentMessage{m.ID, confirmation})
	}
	return sent, nil
}

// waitConfirmed waits for the response to every message. It returns how many
// the broker has confirmed before the first that failed, and why that one did.
func (l *brokerLink) waitConfirmed(ctx context.Context, sent []sentMessage) (confirmed int, failed error) {
	returned := map[string]bool{}
	for _, m := range sent {
		ack, err := m.confirmation.WaitContext(ctx)
		if err != nil { // a late response would be mistaken for one to a later message
			bus.Close(l.connection)
			return confirmed, fmt.Errorf("wait for the broker's confirmation: %w", err)
		}
		l.takeReturned(returned) // a message is returned before it is confirmed
		if failed == nil {
			failed = l.failure(ack, returned[m.id])
		}
		if failed == nil {
			confirmed++
		}
	}
	return confirmed, failed
}

// failure returns what the response to a message means: nil when a queue has it.
func (l *brokerLink) failure(ack, returned bool) error {
	switch {
	case !ack && l.channel.IsClosed(): // the library then says no to every message that waits
		return errConnectionLost
	case !ack:
		return bus.ErrRefused
	case returned:
		return bus.ErrNoQueue
	}
	return nil
}

// takeReturned adds the ids of the messages that the broker has returned.
func (l *brokerLink) takeReturned(ids map[string]bool) {
	for {
		select {
		case message, ok := <-l.returned:
			if !ok {
				return // the channel is closed
			}
			ids[message.MessageId] = true
		default:
			return
		}
	}
}

// publishing returns the message with the properties of the contract.
func publishing(m bus.Message) amqp.Publishing {
	headers := amqp.Table{}
	for name, value := range m.Headers {
		headers[name] = value
	}
	return amqp.Publishing{
		Headers:      headers,
		ContentType:  "application/json",
		DeliveryMode: amqp.Persistent,
		MessageId:    m.ID,
		Timestamp:    m.Time,
		Type:         m.Type,
		AppId:        "platformservice",
		Body:         m.Body,
	}
}

// Close implements bus.Publisher.
func (p *rabbitMQPublisher) Close() {
	p.stop()
	p.done.Wait()
}

// run reconnects until ctx ends.
func (p *rabbitMQPublisher) run(ctx context.Context) {
	var pause backoff.Backoff
	for {
		err := p.stayConnected(ctx, &pause)
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("publisher not connected, retrying", "error", err)
		if pause.Wait(ctx) != nil {
			return
		}
	}
}

// stayConnected connects, and returns why it could not, or why the connection
// ended. It resets pause once it is connected.
func (p *rabbitMQPublisher) stayConnected(ctx context.Context, pause *backoff.Backoff) error {
	link, err := p.open(ctx)
	if err != nil {
		return err
	}
	var declaring sync.WaitGroup
	defer declaring.Wait()
	defer bus.Close(link.connection)
	if err := p.declare(link.topology); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make(chan error, 1)
	declaring.Go(func() { failed <- p.declareAgain(ctx, link.topology) })

	p.setLink(link)
	defer p.setLink(nil)
	p.connected.Store(true)
	defer p.connected.Store(false)
	pause.Reset()
	p.log.Info("publisher connected", "exchange", p.exchange)
	return p.watch(ctx, link, failed)
}

// open connects and opens the channels. The caller must close the connection.
func (p *rabbitMQPublisher) open(ctx context.Context) (link *brokerLink, err error) {
	connection, err := bus.Dial(ctx, p.url, p.tls, bus.BrokerTimeout)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			bus.Close(connection)
		}
	}()
	blocked := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	topology, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	channel, err := connection.Channel()
	if err != nil {
		return nil, fmt.Errorf("open channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return nil, fmt.Errorf("ask for confirmations: %w", err)
	}
	return &brokerLink{
		connection: connection,
		topology:   topology,
		channel:    channel,
		blocked:    blocked,
		lost:       channel.NotifyClose(make(chan *amqp.Error, 1)),
		returned:   channel.NotifyReturn(make(chan amqp.Return, maxUnconfirmed)),
	}, nil
}

// watch returns why the connection ended, or the error that failed receives.
// While the broker blocks publishers, nothing is published.
func (p *rabbitMQPublisher) watch(ctx context.Context, link *brokerLink, failed <-chan error) error {
	blocked := link.blocked
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-link.lost:
			return bus.LostBy(err)
		case err := <-failed:
			return err
		case b, ok := <-blocked: // the broker is short of memory or disk, and has stopped reading
			switch {
			case !ok:
				blocked = nil // closed with the connection; lost receives the reason
			case b.Active:
				p.setLink(nil)
				p.log.Warn("broker blocks publishers", "reason", b.Reason)
			default:
				p.setLink(link)
				p.log.Info("broker unblocks publishers")
			}
		}
	}
}

// declareAgain declares every declareInterval, until it fails or ctx ends: an
// exchange may be deleted, and the broker does not report that.
func (p *rabbitMQPublisher) declareAgain(ctx context.Context, channel *amqp.Channel) error {
	for {
		if err := backoff.PauseFor(ctx, declareInterval); err != nil {
			return err
		}
		if err := p.declare(channel); err != nil {
			return err
		}
	}
}

// declare declares the exchange and, if asked to, binds the exchange of the .NET
// services to it.
func (p *rabbitMQPublisher) declare(channel *amqp.Channel) error {
	if err := bus.DeclareExchange(channel, p.exchange); err != nil || !p.bindTrigger {
		return err
	}
	const durable, autoDelete, internal, noWait = false, false, false, false
	err := channel.ExchangeDeclare(legacyExchange, amqp.ExchangeFanout, durable, autoDelete, internal, noWait, nil)
	if err != nil {
		return bus.Explain(err, "declare exchange "+legacyExchange, "delete it, or switch RABBITMQ_BIND_TRIGGER off")
	}
	if err := channel.ExchangeBind(legacyExchange, "", p.exchange, noWait, nil); err != nil {
		return fmt.Errorf("bind exchange %s to %s: %w", legacyExchange, p.exchange, err)
	}
	return nil
}

func (p *rabbitMQPublisher) setLink(link *brokerLink) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.link = link
}
