package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// errNotConnected is returned by publish while the broker cannot be reached.
var errNotConnected = errors.New("not connected to the broker")

// publisher sends events to a fanout exchange of RabbitMQ. It connects in the
// background, and reconnects whenever the connection is lost.
type publisher struct {
	url      string
	exchange string
	log      *slog.Logger
	stop     context.CancelFunc
	done     sync.WaitGroup

	mu      sync.Mutex
	channel *amqp.Channel // nil while nothing can be published
}

// newPublisher returns a publisher that starts to connect to url. It must be
// closed.
func newPublisher(url, exchange string, log *slog.Logger) *publisher {
	ctx, stop := context.WithCancel(context.Background())
	p := &publisher{url: url, exchange: exchange, log: log, stop: stop}
	p.done.Go(func() { p.run(ctx) })
	return p
}

// publish sends one event to every subscriber that is connected now. It does not
// wait for a broker that is down: it returns an error at once, and the event is
// lost. A nil error means that the event was written to the connection, not that
// the broker has it.
func (p *publisher) publish(ctx context.Context, body []byte) error {
	p.mu.Lock()
	channel := p.channel
	p.mu.Unlock()
	if channel == nil {
		return errNotConnected
	}
	const routingKey, mandatory, immediate = "", false, false // a fanout exchange ignores the key
	err := channel.PublishWithContext(ctx, p.exchange, routingKey, mandatory, immediate, amqp.Publishing{
		ContentType: "application/json",
		Body:        body,
	})
	if err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// close closes the connection. Events published before are sent first, unless the
// broker has stopped reading: then closeTimeout ends the wait, and they may be lost.
func (p *publisher) close() {
	p.stop()
	p.done.Wait()
}

// run reconnects until ctx ends.
func (p *publisher) run(ctx context.Context) {
	var pause backoff
	for {
		err := p.stayConnected(ctx, &pause)
		if ctx.Err() != nil {
			return
		}
		p.log.Warn("publisher not connected, retrying", "error", err)
		if pause.wait(ctx) != nil {
			return
		}
	}
}

// stayConnected connects, and returns why it could not, or why the connection
// ended. It resets pause once it is connected.
func (p *publisher) stayConnected(ctx context.Context, pause *backoff) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // runs last: until the connection is closed, dialBroker needs ctx
	connection, err := dialBroker(ctx, p.url)
	if err != nil {
		return err
	}
	defer connection.Close()
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
	p.log.Info("publisher connected", "exchange", p.exchange)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-lost:
			return fmt.Errorf("connection lost: %w", err)
		case b, ok := <-blocked: // the broker is short of memory or disk, and has stopped reading
			if !ok {
				blocked = nil // closed with the connection; lost receives the reason
			} else if b.Active {
				p.setChannel(nil)
				p.log.Warn("broker blocks publishers", "reason", b.Reason)
			} else {
				p.setChannel(channel)
				p.log.Info("broker unblocks publishers")
			}
		}
	}
}

func (p *publisher) setChannel(channel *amqp.Channel) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.channel = channel
}
