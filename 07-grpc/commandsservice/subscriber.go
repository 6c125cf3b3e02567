package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// bindInterval is how often the subscriber binds its queue again. Deleting an
// exchange deletes its bindings too, and the broker sends no notice.
const bindInterval = 2 * time.Second

// subscriber receives events from a fanout exchange of RabbitMQ, through its own
// queue. It reconnects whenever the connection is lost.
type subscriber struct {
	url      string
	exchange string
	log      *slog.Logger
}

// run passes the body of each event to handle, one at a time in the order of
// arrival, until ctx ends; an event that is being handled is finished first.
// onConnect is called whenever the subscriber has connected: events that were
// published before are not received.
func (s *subscriber) run(ctx context.Context, handle func(context.Context, []byte), onConnect func()) {
	var pause backoff
	for {
		err := s.receive(ctx, handle, func() {
			pause.reset()
			s.log.Info("subscriber connected", "exchange", s.exchange)
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

// receive connects, calls onConnect, and handles events until the connection is
// lost or ctx ends.
func (s *subscriber) receive(ctx context.Context, handle func(context.Context, []byte), onConnect func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // runs last: until the connection is closed, dialBroker needs ctx
	connection, err := dialBroker(ctx, s.url)
	if err != nil {
		return err
	}
	defer connection.Close()
	channel, err := connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	queue, deliveries, err := s.consume(channel)
	if err != nil {
		return err
	}
	lost := channel.NotifyClose(make(chan *amqp.Error, 1))
	onConnect()
	bindAgain := time.NewTicker(bindInterval)
	defer bindAgain.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-bindAgain.C:
			// An error closes the channel. When it is that the exchange does not
			// exist, the next connection declares it.
			if err := s.bind(channel, queue); err != nil {
				return err
			}
		case delivery, ok := <-deliveries:
			if !ok {
				return closeReason(lost)
			}
			handle(context.WithoutCancel(ctx), delivery.Body) // finished even when ctx ends
		}
	}
}

// consume declares the exchange and a queue, binds them, and starts to consume.
// The broker names the queue, reserves it for this connection and deletes it
// with the connection: what is published afterwards is lost to us.
func (s *subscriber) consume(channel *amqp.Channel) (string, <-chan amqp.Delivery, error) {
	if err := declareExchange(channel, s.exchange); err != nil {
		return "", nil, err
	}
	const durable, autoDelete, exclusive, noWait = false, true, true, false
	queue, err := channel.QueueDeclare("", durable, autoDelete, exclusive, noWait, nil)
	if err != nil {
		return "", nil, fmt.Errorf("declare queue: %w", err)
	}
	if err := s.bind(channel, queue.Name); err != nil {
		return "", nil, err
	}
	const autoAck, noLocal = true, false // the broker forgets an event once it is sent
	deliveries, err := channel.Consume(queue.Name, "", autoAck, exclusive, noLocal, noWait, nil)
	if err != nil {
		return "", nil, fmt.Errorf("consume: %w", err)
	}
	return queue.Name, deliveries, nil
}

// bind binds the queue to the exchange. Binding again is harmless, and restores a
// binding that was lost.
func (s *subscriber) bind(channel *amqp.Channel, queue string) error {
	const routingKey, noWait = "", false
	if err := channel.QueueBind(queue, routingKey, s.exchange, noWait, nil); err != nil {
		return fmt.Errorf("bind queue to exchange %s: %w", s.exchange, err)
	}
	return nil
}

// closeReason returns why the deliveries ended. They also end while the connection
// stays open: when the queue is deleted.
func closeReason(lost <-chan *amqp.Error) error {
	select {
	case err := <-lost:
		if err != nil {
			return fmt.Errorf("connection lost: %w", err)
		}
	default:
	}
	return errors.New("the queue was deleted")
}
