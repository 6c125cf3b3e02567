package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// listener is a second subscriber of the exchange, with its own exclusive queue, as
// another team's service would have. It misses what is published while it has no
// connection to the broker.
type listener struct {
	end    context.CancelFunc
	loop   sync.WaitGroup
	bound  chan struct{} // closed as soon as it can receive events
	mu     sync.Mutex
	events []event
}

// listen starts listening, as soon as the services have declared the exchange. The
// caller must call stop.
func listen(ctx context.Context, url, exchange string) *listener {
	ctx, end := context.WithCancel(ctx)
	l := &listener{end: end, bound: make(chan struct{}), events: []event{}}
	l.loop.Go(func() {
		retry := time.NewTicker(200 * time.Millisecond)
		defer retry.Stop()
		for {
			_ = l.receive(ctx, url, exchange) // whatever the error, it connects again
			select {
			case <-retry.C:
			case <-ctx.Done():
				return
			}
		}
	})
	return l
}

func (l *listener) stop() {
	l.end()
	l.loop.Wait()
}

// heard returns the events received so far.
func (l *listener) heard() []event {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]event{}, l.events...)
}

func (l *listener) receive(ctx context.Context, url, exchange string) error {
	connection, err := dialBroker(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = connection.CloseDeadline(time.Now().Add(time.Second)) }()
	channel, err := connection.Channel()
	if err != nil {
		return err
	}
	if err := channel.ExchangeDeclarePassive(exchange, amqp.ExchangeFanout, false, false, false, false, nil); err != nil {
		return err
	}
	queue, err := channel.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return err
	}
	if err := channel.QueueBind(queue.Name, "", exchange, false, nil); err != nil {
		return err
	}
	deliveries, err := channel.Consume(queue.Name, "", true, true, false, false, nil)
	if err != nil {
		return err
	}
	select {
	case <-l.bound:
	default:
		close(l.bound)
	}
	for {
		select {
		case delivery, ok := <-deliveries:
			if !ok {
				return fmt.Errorf("the broker sends no more events")
			}
			var body struct {
				ID   int32 `json:"Id"`
				Name string
			}
			if json.Unmarshal(delivery.Body, &body) != nil {
				continue // it ignores poison
			}
			l.mu.Lock()
			l.events = append(l.events, event{ID: body.ID, Name: body.Name})
			l.mu.Unlock()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
