package platformservice

import (
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
	maxInFlight     = 1000             // messages that wait for their confirmation together
	confirmTimeout  = 10 * time.Second // for that to come
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

	connected atomic.Bool // also while the broker takes nothing

	publishing sync.Mutex // held by Publish: one batch at a time

	mu   sync.Mutex
	link *brokerLink // nil while nothing can be published
}

// brokerLink is a connection with a channel in confirm mode.
type brokerLink struct {
	connection *amqp.Connection
	channel    *amqp.Channel
	returned   chan amqp.Return // has room for all messages in flight, so that the library never waits
}

// NewRabbitMQPublisher returns a Publisher that starts to connect. It must be
// closed.
func NewRabbitMQPublisher(cfg Config, registry prometheus.Registerer, log *slog.Logger) bus.Publisher {
	ctx, stop := context.WithCancel(context.Background())
	p := &rabbitMQPublisher{url: cfg.RabbitMQURL, tls: cfg.RabbitMQTLS, exchange: cfg.Exchange,
		bindTrigger: cfg.BindTrigger, log: log, stop: stop}
	bus.RegisterConnected(registry, p.Connected)
	p.done.Go(func() { p.run(ctx) })
	return p
}

// Publish implements bus.Publisher. It does not wait for a broker that is away.
func (p *rabbitMQPublisher) Publish(ctx context.Context, messages []bus.Message) (int, error) {
	p.publishing.Lock()
	defer p.publishing.Unlock()
	confirmed := 0
	for confirmed < len(messages) {
		n, err := p.publishTogether(ctx, messages[confirmed:min(len(messages), confirmed+maxInFlight)])
		confirmed += n
		if err != nil {
			return confirmed, fmt.Errorf("publish: %w", err)
		}
	}
	return confirmed, nil
}

// Connected implements bus.Publisher.
func (p *rabbitMQPublisher) Connected() bool { return p.connected.Load() }

// publishTogether sends all messages, and then waits for what the broker says
// to each, in order.
func (p *rabbitMQPublisher) publishTogether(ctx context.Context, messages []bus.Message) (confirmed int, err error) {
	p.mu.Lock()
	link := p.link
	p.mu.Unlock()
	if link == nil {
		return 0, errNotConnected
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	var sent []*amqp.DeferredConfirmation
	for _, m := range messages {
		const mandatory, immediate = true, false
		confirmation, sendErr := link.channel.PublishWithDeferredConfirmWithContext(ctx, p.exchange, "", mandatory, immediate, publishing(m))
		if sendErr != nil {
			err = sendErr // those before it may get through
			break
		}
		sent = append(sent, confirmation)
	}
	returned := map[string]bool{}
	confirmed = len(sent)
	for i, confirmation := range sent {
		ack, waitErr := confirmation.WaitContext(ctx)
		if waitErr != nil { // what comes later would be mistaken for what comes of later messages
			bus.Close(link.connection)
			return min(confirmed, i), fmt.Errorf("wait for the broker's confirmation: %w", waitErr)
		}
		link.takeReturned(returned) // a message is returned before it is confirmed
		switch {
		case confirmed < i: // not the first that fails
		case !ack && link.channel.IsClosed(): // the library then says no to every message that waits
			confirmed, err = i, errConnectionLost
		case !ack:
			confirmed, err = i, bus.ErrRefused
		case returned[messages[i].ID]:
			confirmed, err = i, bus.ErrNoQueue
		}
	}
	return confirmed, err
}

// takeReturned adds the ids of the messages that came back.
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

// publishing is the message as the contract has it.
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
	connection, err := bus.Dial(ctx, p.url, p.tls, bus.BrokerTimeout)
	if err != nil {
		return err
	}
	var declaring sync.WaitGroup
	defer declaring.Wait()
	defer bus.Close(connection)
	blocked := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	declare, err := connection.Channel() // of its own: a call on it may wait while the broker blocks
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	if err := p.declare(declare); err != nil {
		return err
	}
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	if err := channel.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirmations: %w", err)
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	link := &brokerLink{connection, channel, channel.NotifyReturn(make(chan amqp.Return, maxInFlight))}
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	declaring.Go(func() { failed <- p.declareAgain(ctx, declare) })

	p.setLink(link)
	defer p.setLink(nil)
	p.connected.Store(true)
	defer p.connected.Store(false)
	pause.Reset()
	p.log.Info("publisher connected", "exchange", p.exchange)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return bus.LostBy(err)
		case err := <-failed:
			return err
		case b, ok := <-blocked: // the broker is short of memory or disk, and has stopped reading
			if !ok {
				blocked = nil // never ready again: the connection is lost, which lost reports
			} else if b.Active {
				p.setLink(nil)
				p.log.Warn("broker blocks publishers", "reason", b.Reason)
			} else {
				p.setLink(link)
				p.log.Info("broker unblocks publishers")
			}
		}
	}
}

// declareAgain declares from time to time, until it fails or ctx ends: somebody
// may delete an exchange, and the broker does not tell.
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

// declare declares the exchange and, if asked to, passes its messages on to that
// of the .NET services.
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
