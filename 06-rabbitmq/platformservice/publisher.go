package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errNotConnected is why an event cannot be published while the broker is away.
var errNotConnected = errors.New("not connected to the broker")

// Publisher puts events on the bus.
type Publisher interface {
	// Publish sends one event to everybody who listens at this moment. It does
	// not wait for the broker to come back: while that is away it returns an
	// error at once, and the event is gone.
	Publish(ctx context.Context, body []byte) error
	// Close sends what is on its way and ends the connection.
	Close()
}

// rabbitMQPublisher publishes to a fanout exchange of RabbitMQ. It connects in
// the background, and again whenever the connection is lost, for ever.
type rabbitMQPublisher struct {
	url      string
	exchange string
	log      *slog.Logger
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu      sync.Mutex
	channel *amqp.Channel // nil while nothing can be published
}

// NewRabbitMQPublisher returns a publisher that has begun to connect to url.
// It has to be closed.
func NewRabbitMQPublisher(url, exchange string, log *slog.Logger) Publisher {
	ctx, stop := context.WithCancel(context.Background())
	p := &rabbitMQPublisher{url: url, exchange: exchange, log: log, stop: stop}
	p.done.Go(func() { p.run(ctx) })
	return p
}

// Publish implements Publisher. That it returns nil says that the event was
// written to the connection, not that the broker has it.
func (p *rabbitMQPublisher) Publish(ctx context.Context, body []byte) error {
	p.mu.Lock()
	channel := p.channel
	p.mu.Unlock()
	if channel == nil {
		return errNotConnected
	}
	err := channel.PublishWithContext(ctx, p.exchange, "", false, false, amqp.Publishing{
		ContentType: "application/json",
		Body:        body,
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// Close implements Publisher.
func (p *rabbitMQPublisher) Close() {
	p.stop()
	p.done.Wait()
}

// run keeps a connection until ctx ends.
func (p *rabbitMQPublisher) run(ctx context.Context) {
	var pause backoff
	for {
		err := p.connect(ctx, &pause)
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("publisher has no broker, will try again", "error", err)
		if pause.wait(ctx) != nil {
			return
		}
	}
}

// connect connects and stays until the connection is lost, which is the error
// it returns, or ctx ends.
func (p *rabbitMQPublisher) connect(ctx context.Context, pause *backoff) error {
	connection, err := dialBroker(ctx, p.url)
	if err != nil {
		return err
	}
	defer func() { _ = connection.CloseDeadline(time.Now().Add(brokerTimeout)) }()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	blocked := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	if err := declareExchange(channel, p.exchange); err != nil {
		return err
	}

	p.setChannel(channel)
	defer p.setChannel(nil)
	pause.reset()
	p.log.Info("publisher connected to the broker", "exchange", p.exchange)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("connection lost: %w", err)
		case b, ok := <-blocked: // the broker is short of memory or disk, and reads nothing
			if !ok {
				blocked = nil // the connection is lost, and so says lost
			} else if b.Active {
				p.setChannel(nil)
				p.log.Warn("broker takes no events", "reason", b.Reason)
			} else {
				p.setChannel(channel)
				p.log.Info("broker takes events again")
			}
		}
	}
}

func (p *rabbitMQPublisher) setChannel(channel *amqp.Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.channel = channel
}
