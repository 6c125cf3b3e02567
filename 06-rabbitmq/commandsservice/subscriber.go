package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Subscriber receives events from the bus.
type Subscriber interface {
	// Run hands the body of each event to handle, one after the other in the
	// order in which they came, until ctx ends. The event in hand is then
	// finished first. OnConnect, unless nil, is called each time that events
	// begin to come: those sent before are not among them.
	Run(ctx context.Context, handle func(ctx context.Context, body []byte), onConnect func())
}

// rabbitMQSubscriber listens to a fanout exchange of RabbitMQ through a queue
// of its own. It connects again whenever the connection is lost, for ever.
type rabbitMQSubscriber struct {
	url      string
	exchange string
	log      *slog.Logger
}

// NewRabbitMQSubscriber returns a subscriber for the broker at url.
func NewRabbitMQSubscriber(url, exchange string, log *slog.Logger) Subscriber {
	return &rabbitMQSubscriber{url: url, exchange: exchange, log: log}
}

// Run implements Subscriber.
func (s *rabbitMQSubscriber) Run(ctx context.Context, handle func(context.Context, []byte), onConnect func()) {
	var pause backoff
	for {
		err := s.receive(ctx, handle, func() {
			pause.reset()
			s.log.Info("subscriber connected to the broker", "exchange", s.exchange)
			if onConnect != nil {
				onConnect()
			}
		})
		if ctx.Err() != nil {
			return
		}
		s.log.Warn("subscriber has no broker, will try again", "error", err)
		if pause.wait(ctx) != nil {
			return
		}
	}
}

// receive connects, calls onConnect, and receives until the connection is lost,
// which is the error it returns, or ctx ends.
func (s *rabbitMQSubscriber) receive(ctx context.Context, handle func(context.Context, []byte), onConnect func()) error {
	connection, err := dialBroker(ctx, s.url)
	if err != nil {
		return err
	}
	defer func() { _ = connection.CloseDeadline(time.Now().Add(brokerTimeout)) }()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	deliveries, err := consume(channel, s.exchange)
	if err != nil {
		return err
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	onConnect()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case delivery, ok := <-deliveries:
			if !ok {
				select {
				case err := <-lost:
					if err != nil {
						return fmt.Errorf("connection lost: %w", err)
					}
				default: // the connection is well: somebody deleted the queue
				}
				return errors.New("the broker sends no more events")
			}
			handle(context.WithoutCancel(ctx), delivery.Body)
		}
	}
}

// consume declares the exchange and a queue, binds them and starts to consume.
// The broker names the queue, gives it to this connection alone and deletes it
// when that ends: what is published then is not kept for us.
func consume(channel *amqp.Channel, exchange string) (<-chan amqp.Delivery, error) {
	if err := declareExchange(channel, exchange); err != nil {
		return nil, err
	}
	const durable, autoDelete, exclusive, noWait = false, true, true, false
	queue, err := channel.QueueDeclare("", durable, autoDelete, exclusive, noWait, nil)
	if err != nil {
		return nil, fmt.Errorf("declare queue: %w", err)
	}
	if err := channel.QueueBind(queue.Name, "", exchange, noWait, nil); err != nil {
		return nil, fmt.Errorf("bind queue to exchange %s: %w", exchange, err)
	}
	const autoAck, noLocal = true, false // the broker forgets an event when it has sent it
	deliveries, err := channel.Consume(queue.Name, "", autoAck, exclusive, noLocal, noWait, nil)
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return deliveries, nil
}
