package commandsservice

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// listener is a subscriber that a test runs.
type listener struct {
	bodies    chan string // what came
	connected chan int    // 1, 2, … as often as it connected
	log       *logCapture
	stop      context.CancelFunc // ends Run
	stopped   chan struct{}      // closed when Run has returned
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
		NewRabbitMQSubscriber(url, exchange, log).Run(ctx,
			func(_ context.Context, body []byte) { l.bodies <- string(body) },
			func() { connections++; l.connected <- connections })
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, "the end of Run", l.stopped)
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

	t.Run("each of two gets every event", func(t *testing.T) {
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

	t.Run("shares the exchange with the .NET services, whoever declares it first", func(t *testing.T) {
		broker := newTestBroker(t)
		broker.declare(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		broker.declare(t) // another kind of exchange would be a 406 now
		broker.publish(t, "x")
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("asks for the exchange and the queue of the contract", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		receive(t, "a connection", startListener(t, url, broker.exchange).connected)

		// Each begins with the numbers of an AMQP class and method. A text is
		// preceded by its length. Bits are counted from the lowest.
		sent := proxy.recorded()
		assert.Contains(t, sent, "\x00\x28\x00\x0a"+"\x00\x00"+withLength(broker.exchange)+withLength("fanout")+
			"\x00", "exchange.declare: a fanout, and no bit: not durable, not auto-delete")
		assert.Contains(t, sent, "\x00\x32\x00\x0a"+"\x00\x00"+"\x00"+
			"\x0c", "queue.declare: no name, and the bits exclusive and auto-delete, not durable")
		consume := "\x00\x3c\x00\x14" + "\x00\x00" + "\x07amq.gen"
		assert.NotContains(t, sent, consume, "a queue's name has a random part")
		assert.Regexp(t, `(?s)\x00\x3c\x00\x14\x00\x00.amq\.gen-[^\x00]+?ctag-[^\x00]+?\x06\x00\x00\x00\x00`, sent,
			"basic.consume: the broker's name for the queue, and the bits no-ack and exclusive")
	})

	t.Run("starts without a broker, and connects when it comes", func(t *testing.T) {
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

	t.Run("connects again when the connection is lost, and says so", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		l := startListener(t, url, broker.exchange)
		for connection := range 3 {
			require.Equal(t, connection+1, receive(t, "a connection", l.connected))
			require.True(t, broker.publish(t, fmt.Sprint(connection)))
			require.Equal(t, fmt.Sprint(connection), receive(t, "an event", l.bodies))
			proxy.cut()
			eventually(t, "the loss in the log", func() bool { return len(l.log.lines("connection lost")) > connection })
			proxy.restore()
		}
		receive(t, "a connection", l.connected)
	})

	t.Run("subscribes again when somebody deletes its queue", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		l := startListener(t, url, broker.exchange)
		receive(t, "a connection", l.connected)

		// The broker lets nobody but an operator do that. This is what it says
		// to the consumer then: basic.cancel, in a frame of channel 1.
		tag := regexp.MustCompile(`ctag-[!-~]+`).FindString(proxy.recorded())
		require.NotEmpty(t, tag)
		method := "\x00\x3c\x00\x1e" + withLength(tag) + "\x01"
		proxy.say(t, "\x01"+"\x00\x01"+"\x00\x00\x00"+withLength(method)+"\xce")

		assert.Equal(t, 2, receive(t, "another connection", l.connected))
		require.True(t, broker.publish(t, "x"))
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})

	t.Run("binds its queue again when the exchange was deleted", func(t *testing.T) {
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		require.NoError(t, broker.channel.ExchangeDelete(broker.exchange, false, false))
		broker.declare(t) // as the next publisher does
		eventually(t, "an event that a queue takes", func() bool { return broker.publish(t, "x") })
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

	t.Run("a body that makes no sense does not stop the next", func(t *testing.T) {
		broker := newTestBroker(t)
		store := memoryStore(t)
		log, logged := captureLog()
		connected := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			NewRabbitMQSubscriber(broker.url, broker.exchange, log).Run(ctx,
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

// withLength returns a text of up to 255 bytes as AMQP has it.
func withLength(text string) string { return string([]byte{byte(len(text))}) + text }

func TestSubscriberStop(t *testing.T) {
	t.Run("leaves no goroutine and no queue", func(t *testing.T) {
		noGoroutineLeft(t)
		broker := newTestBroker(t)
		l := startListener(t, broker.url, broker.exchange)
		receive(t, "a connection", l.connected)
		require.True(t, broker.publish(t, "x"), "taken by the queue")
		l.stop()
		receive(t, "the end of Run", l.stopped)
		eventually(t, "no queue that takes an event", func() bool { return !broker.publish(t, "x") })
	})

	t.Run("ends while there is no broker", func(t *testing.T) {
		noGoroutineLeft(t)
		l := startListener(t, "amqp://127.0.0.1:1/", "unused")
		eventually(t, "an attempt", func() bool { return len(l.log.lines("subscriber not connected")) > 0 })
		l.stop()
		receive(t, "the end of Run", l.stopped)
	})

	t.Run("finishes the event in hand first", func(t *testing.T) {
		broker := newTestBroker(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		log, _ := captureLog()
		connected, began, goOn := make(chan struct{}, 1), make(chan struct{}, 2), make(chan struct{})
		var finished atomic.Bool
		finishedAtReturn := make(chan bool, 1)
		go func() {
			NewRabbitMQSubscriber(broker.url, broker.exchange, log).Run(ctx, func(ctx context.Context, _ []byte) {
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
		broker.publish(t, "y") // a round trip: the time to do it wrong
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

	// No broker yet, and that harms nobody.
	eventually(t, "an attempt", func() bool { return len(service.log.lines("subscriber not connected")) > 0 })
	assert.Equal(t, http.StatusOK, send(t, "GET", service.url+"/readyz", "").status)

	proxy.restore()
	eventually(t, "a connection", func() bool { return len(service.log.lines("subscriber connected")) == 1 })
	require.True(t, broker.publish(t, recordedEvent))
	eventually(t, "the platform", func() bool { return len(service.log.lines("platform received by event")) == 1 })
	requireJSON(t, send(t, "GET", service.url+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
}
