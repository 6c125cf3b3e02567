package commandsservice

import (
	"context"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

// declare creates the exchange and the queues if they do not exist, and sets the
// metric of dead letters.
func (s *rabbitMQSubscriber) declare(channel *amqp.Channel) error {
	if err := bus.DeclareExchange(channel, s.exchange); err != nil {
		return err
	}
	dead, err := s.declareQueue(channel, bus.DeadQueue(s.queue), amqp.Table{
		// To look at a dead letter is a delivery, too. RabbitMQ 4 would drop it after 20.
		"x-delivery-limit": int32(1 << 30),
	})
	if err != nil {
		return err
	}
	s.metrics.deadLetters.Set(float64(dead.Messages))
	arguments := passOn(bus.DeadQueue(s.queue))
	arguments["x-delivery-limit"] = int32(s.limit)
	if _, err := s.declareQueue(channel, s.queue, arguments); err != nil {
		return err
	}
	for _, delay := range s.delays {
		arguments := passOn(s.queue)
		arguments[amqp.QueueMessageTTLArg] = delay.Milliseconds()
		if _, err := s.declareQueue(channel, retryQueue(s.queue, delay), arguments); err != nil {
			return err
		}
	}
	return bus.Explain(channel.QueueBind(s.queue, "", s.exchange, false, nil), "bind queue "+s.queue+" to exchange "+s.exchange, "")
}

// declareAgain declares every declareInterval, until it fails or ctx ends: an
// exchange or a queue may be deleted, and the broker does not report that.
func (s *rabbitMQSubscriber) declareAgain(ctx context.Context, channel *amqp.Channel) error {
	for {
		if err := backoff.PauseFor(ctx, declareInterval); err != nil {
			return err
		}
		if err := s.declare(channel); err != nil {
			return err
		}
	}
}

// retryQueue returns the name of the queue that holds messages of queue for a delay.
func retryQueue(queue string, delay time.Duration) string {
	return queue + ".retry." + delay.String()
}

// passOn returns the arguments of a queue that dead-letters its messages to another
// queue, and drops each once the other has confirmed it.
func passOn(queue string) amqp.Table {
	return amqp.Table{
		"x-dead-letter-exchange":    "", // the default exchange: it routes to the queue that is named
		"x-dead-letter-routing-key": queue,
		"x-dead-letter-strategy":    "at-least-once",
		amqp.QueueOverflowArg:       amqp.QueueOverflowRejectPublish, // the strategy requires it
	}
}

// declareQueue creates a durable quorum queue if it does not exist.
func (s *rabbitMQSubscriber) declareQueue(channel *amqp.Channel, name string, arguments amqp.Table) (amqp.Queue, error) {
	arguments[amqp.QueueTypeArg] = amqp.QueueTypeQuorum
	const durable, autoDelete, exclusive, noWait = true, false, false, false
	queue, err := channel.QueueDeclare(name, durable, autoDelete, exclusive, noWait, arguments)
	return queue, bus.Explain(err, "declare queue "+name, "choose another name (COMMANDS_QUEUE), or delete that queue once it is empty")
}
