package commandsservice

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener is a subscriber that a test runs.
type listener struct {
	bodies    chan string // those of the events received
	connected chan int    // 1, 2, … as often as it connected
	log       *logCapture
	stop      context.CancelFunc // ends run
	stopped   chan struct{}      // closed when run has returned
}

// startListener runs a subscriber until the test ends, or stop is called.
func startListener(t *testing.T, url, exchange string) *listener {
	t.Helper()
	log, logged := captureLog()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{bodies: make(chan string, 1000), connected: make(chan int, 100), log: logged,
		stop: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(l.stopped)
		connections := 0
		(&subscriber{url: url, exchange: exchange, log: log}).run(ctx,
			func(_ context.Context, body []byte) { l.bodies <- string(body) },
			func() { connections++; l.connected <- connections })
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, "the end of run", l.stopped)
	})
	return l
}

func TestSubscriber(t *testing.T) {
	t.Run("hands over every event, in order", func(t *testing.T) {
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		for i := range 200 {
			require.True(t, broker.publish(t, fmt.Sprint(i)))
		}
		for i := range 200 {
			require.Equal(t, fmt.Sprint(i), receive(t, "an event", l.bodies))
		}
	})

	t.Run("two subscribers both get every event", func(t *testing.T) {
		broker := newTestBroker(t)
		one, two := startListener(t, broker.url, broker.exchange), startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", one.connected)
		receive(t, "a connection", two.connected)
		for _, body := range []string{"a", "b"} {
			broker.publish(t, body)
			assert.Equal(t, body, receive(t, "an event", one.bodies))
			assert.Equal(t, body, receive(t, "an event", two.bodies))
		}
	})

	t.Run("shares the exchange with the .NET services, in either order", func(t *testing.T) {
		broker := newTestBroker(t)
		broker.declare(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		broker.declare(t) // another kind of exchange would be a 406 now
		broker.publish(t, "x")
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("starts without a broker, and connects once it is up", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		l := startListener(t, url, broker.exchange)
		eventually(t, "two attempts", func() bool { return len(l.log.lines("subscriber not connected, retrying")) >= 2 })
		assert.Empty(t, l.connected)

		proxy.restore()
		receive(t, "a connection", l.connected)
		broker.publish(t, "x")
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("connects again when the connection is lost, and logs the loss", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		l := startListener(t, url, broker.exchange)
		for connection := range 3 {
			require.Equal(t, connection+1, receive(t, "a connection", l.connected))
			require.True(t, broker.publish(t, fmt.Sprint(connection)))
			require.Equal(t, fmt.Sprint(connection), receive(t, "an event", l.bodies))
			before := len(l.log.lines("subscriber not connected"))
			proxy.cut()
			// What notices the loss may be that no event can be received, or that the queue cannot be bound again.
			eventually(t, "the loss in the log", func() bool { return len(l.log.lines("subscriber not connected")) > before })
			proxy.restore()
		}
		receive(t, "a connection", l.connected)
		assert.Empty(t, l.log.lines("the queue was deleted"))
	})

	t.Run("binds its queue again when the exchange was deleted", func(t *testing.T) {
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		require.NoError(t, broker.channel.ExchangeDelete(broker.exchange, false, false))
		broker.declare(t) // as the next publisher does
		eventually(t, "an event that reaches a queue", func() bool { return broker.publish(t, "x") })
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("declares the exchange again when it was deleted", func(t *testing.T) {
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		require.NoError(t, broker.channel.ExchangeDelete(broker.exchange, false, false))
		assert.Equal(t, 2, receive(t, "another connection", l.connected))
		require.True(t, broker.publish(t, "x"))
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("a body that makes no sense does not hold up the next event", func(t *testing.T) {
		broker := newTestBroker(t)
		store := memoryStore(t)
		log, logged := captureLog()
		connected := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			(&subscriber{url: broker.url, exchange: broker.exchange, log: log}).run(ctx,
				(&eventProcessor{store: store, log: log}).process, func() { connected <- struct{}{} })
		}()
		defer func() { cancel(); receive(t, "the end of Run", stopped) }()
		receive(t, "a connection", connected)
		for _, body := range []string{"", "{", "\x00\xff", recordedEvent} {
			require.True(t, broker.publish(t, body))
		}
		eventually(t, "the platform", func() bool { return len(logged.lines("platform received by event")) == 1 })
		assert.Len(t, logged.lines("event dropped"), 3)
		requirePlatforms(t, store, 1)
	})
}

func TestSubscriberStop(t *testing.T) {
	t.Run("leaves no goroutine and no queue", func(t *testing.T) {
		noGoroutineLeft(t)
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		require.True(t, broker.publish(t, "x"), "it reaches the queue")
		l.stop()
		receive(t, "the end of run", l.stopped)
		eventually(t, "no queue that gets an event", func() bool { return !broker.publish(t, "x") })
	})

	t.Run("stops while there is no broker", func(t *testing.T) {
		noGoroutineLeft(t)
		l := startListener(t, "amqp://127.0.0.1:1/", "unused")
		eventually(t, "an attempt", func() bool { return len(l.log.lines("subscriber not connected")) > 0 })
		l.stop()
		receive(t, "the end of run", l.stopped)
	})

	t.Run("finishes the current event before it stops", func(t *testing.T) {
		broker := newTestBroker(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log, _ := captureLog()
		connected, began, goOn := make(chan struct{}, 1), make(chan struct{}, 2), make(chan struct{})
		var finished atomic.Bool
		finishedAtReturn := make(chan bool, 1)
		go func() {
			(&subscriber{url: broker.url, exchange: broker.exchange, log: log}).run(ctx, func(ctx context.Context, _ []byte) {
				began <- struct{}{}
				<-goOn
				finished.Store(ctx.Err() == nil) // it can still store something
			}, func() { connected <- struct{}{} })
			finishedAtReturn <- finished.Load()
		}()
		receive(t, "a connection", connected)
		broker.publish(t, "x")
		receive(t, "the event", began)
		cancel()
		broker.publish(t, "y") // a round trip gives the service time to get it wrong
		close(goOn)
		assert.True(t, receive(t, "the end of Run", finishedAtReturn))
	})
}

func TestRunReceivesEvents(t *testing.T) {
	broker := newTestBroker(t)
	proxy, url := newBrokerProxy(t, broker.url)
	cfg := testConfig(t)
	cfg.RabbitMQURL, cfg.Exchange = url, broker.exchange
	service := startService(t, cfg)
	service.waitReady(t)

	// There is no broker yet, and the service runs.
	eventually(t, "an attempt", func() bool { return len(service.log.lines("subscriber not connected")) > 0 })
	assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/readyz", "").status)

	proxy.restore()
	eventually(t, "a connection", func() bool { return len(service.log.lines("subscriber connected")) == 1 })
	require.True(t, broker.publish(t, recordedEvent))
	eventually(t, "the platform", func() bool { return len(service.log.lines("platform received by event")) == 1 })
	requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
}
