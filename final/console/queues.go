package console

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
)

const (
	queueInterval = time.Second
	redialAfter   = 250 * time.Millisecond  // so that the exchange is up when the broker is
	brokerTimeout = 1500 * time.Millisecond // for one declaration; then the broker counts as down
	ownMessages   = 10_000                  // events that wait for the console, at most: the broker drops the oldest
	ownBytes      = 16 << 20
)

// QueueState is what a queue holds.
type QueueState struct {
	Name             string
	Role             string // work, retry, dead, console or other
	Depth, Consumers int
}

// queues says what the queues hold, on change.
type queues struct {
	feed *feed
	last map[string]QueueState
}

func (q *queues) say(state QueueState) {
	if q.last[state.Name] != state {
		q.last[state.Name] = state
		q.feed.add(time.Now(), "queue", "queue/"+state.Name, queueContent{Depth: state.Depth, Consumers: state.Consumers, Role: state.Role})
	}
}

// watchMemory watches the bus of this process.
func (s *service) watchMemory(ctx context.Context) {
	q := queues{s.feed, map[string]QueueState{}}
	s.reportBroker(partContent{State: up})
	s.parts.report("exchange", partContent{State: up})
	for {
		for _, state := range s.watched.Queues() {
			q.say(state)
		}
		if backoff.PauseFor(ctx, queueInterval) != nil {
			return
		}
	}
}

// watchBroker watches RabbitMQ: whether it is up, what its queues hold, and, in a
// queue of its own, the events. It reconnects until ctx ends.
func (s *service) watchBroker(ctx context.Context) {
	v := &brokerView{service: s, queues: queues{s.feed, map[string]QueueState{}}}
	for {
		v.queues.say(QueueState{Name: "console", Role: "console"}) // it doesn't listen yet, or any more
		err := v.watchConnection(ctx)
		if ctx.Err() != nil {
			return
		}
		s.log.DebugContext(ctx, "broker not watched, retrying", "error", err)
		s.reportBroker(partContent{State: down, Detail: short(err.Error())})
		if backoff.PauseFor(ctx, redialAfter) != nil {
			return
		}
	}
}

// reportBroker reports the broker, and what is in it.
func (s *service) reportBroker(content partContent) {
	s.parts.report("broker", content)
	s.parts.report("dead-letters", content)
	if content.State == down {
		s.parts.report("exchange", content)
	}
}

// brokerView is a connection to the broker that changes nothing there but a queue of
// its own.
type brokerView struct {
	*service
	queues     queues
	bound      bool // whether the subscriber's queue is; a lost connection changes nothing about that
	connection *amqp.Connection
	listens    bool // over this connection
	running    sync.WaitGroup
}

// watchConnection returns what ended the connection.
func (v *brokerView) watchConnection(ctx context.Context) error {
	connection, err := bus.Dial(ctx, v.cfg.RabbitMQURL, v.cfg.RabbitMQTLS, 0)
	if err != nil {
		return err
	}
	v.connection, v.listens = connection, false
	defer v.running.Wait()
	defer bus.Close(connection)
	lost := connection.NotifyClose(make(chan *amqp.Error, 1))
	timer := time.NewTicker(queueInterval)
	defer timer.Stop()
	for {
		looked := make(chan error, 1)
		v.running.Go(func() { looked <- v.look(ctx) }) // ends with the connection, if it takes that long
		select {
		case err := <-looked:
			if err != nil {
				return err
			}
		case <-time.After(brokerTimeout):
			return errors.New("it does not respond")
		}
		v.reportBroker(partContent{State: up})
		select {
		case <-timer.C:
		case err := <-lost:
			return bus.LostBy(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// look asks for every queue, and has the events sent here once a subscriber's queue is
// bound. Without one a publisher learns that no queue takes its events, and keeps them:
// the console's queue must not make the difference.
func (v *brokerView) look(ctx context.Context) error {
	exists, err := v.passively(func(channel *amqp.Channel) error {
		return channel.ExchangeDeclarePassive(v.cfg.Exchange, amqp.ExchangeFanout, v.cfg.Stage == "final", v.cfg.Stage != "final", false, false, nil)
	})
	if err != nil {
		return err
	}
	if !exists {
		state := down
		if v.cfg.Stage == "final" { // PlatformService declares it, and keeps its events until then
			state = starting
		}
		v.parts.report("exchange", partContent{State: state, Detail: "it does not exist yet"})
		return nil
	}
	v.parts.report("exchange", partContent{State: up})
	for _, wanted := range v.wanted() {
		found, err := v.passively(func(channel *amqp.Channel) error {
			queue, err := channel.QueueDeclarePassive(wanted.Name, true, false, false, false, nil)
			wanted.Depth, wanted.Consumers = queue.Messages, queue.Consumers
			return err
		})
		if err != nil {
			return err
		}
		if found {
			v.queues.say(wanted)
		}
		if wanted.Role == "work" { // a queue is declared first; a consumer or a message tells that it is bound, too
			v.bound = found && (v.bound || wanted.Consumers > 0 || wanted.Depth > 0)
		}
	}
	subscribed := v.bound || v.cfg.Stage != "final" // a chapter's queues have names of the broker's choice
	switch {
	case subscribed && !v.listens:
		return v.listen(ctx)
	case !subscribed && v.listens:
		return errors.New("the subscriber's queue is gone") // and with the connection the console's own
	}
	return nil
}

// wanted returns the queues to ask for.
func (v *brokerView) wanted() []QueueState {
	if v.cfg.Stage != "final" {
		return nil
	}
	all := []QueueState{{Name: v.cfg.Queue, Role: "work"}, {Name: bus.DeadQueue(v.cfg.Queue), Role: "dead"}}
	for _, delay := range v.cfg.RetryDelays {
		all = append(all, QueueState{Name: fmt.Sprintf("%s.retry.%s", v.cfg.Queue, delay), Role: "retry"})
	}
	return all
}

// passively reports whether something exists. To ask for what does not exist costs the
// channel.
func (v *brokerView) passively(declare func(*amqp.Channel) error) (exists bool, err error) {
	channel, err := v.connection.Channel()
	if err != nil {
		return false, fmt.Errorf("open channel: %w", err)
	}
	err = declare(channel)
	var refused *amqp.Error
	if errors.As(err, &refused) && refused.Code == amqp.NotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("declare passively: %w", err)
	}
	return true, channel.Close()
}

// listen binds a queue of the console's own to the exchange. Its events need no
// acknowledgement, and it is bounded: a console that is slow costs the broker nothing
// and the publisher no confirmation. It is gone with the connection.
func (v *brokerView) listen(ctx context.Context) error {
	channel, err := v.connection.Channel()
	if err != nil {
		return fmt.Errorf("open channel: %w", err)
	}
	const durable, autoDelete, exclusive, noWait = false, true, true, false
	queue, err := channel.QueueDeclare("", durable, autoDelete, exclusive, noWait, amqp.Table{
		amqp.QueueMaxLenArg: ownMessages, amqp.QueueMaxLenBytesArg: ownBytes, amqp.QueueOverflowArg: amqp.QueueOverflowDropHead})
	if err != nil {
		return fmt.Errorf("declare a queue: %w", err)
	}
	if err := channel.QueueBind(queue.Name, "", v.cfg.Exchange, noWait, nil); err != nil {
		return fmt.Errorf("bind it to exchange %s: %w", v.cfg.Exchange, err)
	}
	const autoAck, noLocal = true, false
	deliveries, err := channel.Consume(queue.Name, "", autoAck, exclusive, noLocal, noWait, nil)
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	v.listens = true
	v.queues.say(QueueState{Name: "console", Role: "console", Consumers: 1})
	v.running.Go(func() { // until the connection ends
		for d := range deliveries {
			m := bus.Message{ID: d.MessageId, Body: d.Body, Headers: map[string]string{}}
			if traceparent, ok := d.Headers["traceparent"].(string); ok {
				m.Headers["traceparent"] = traceparent
			}
			v.journey.event(m, time.Now())
		}
	})
	return nil
}
