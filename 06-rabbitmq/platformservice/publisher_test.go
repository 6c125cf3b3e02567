package platformservice

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// startPublisher returns a publisher that is closed when the test ends.
func startPublisher(t *testing.T, url, exchange string, log *slog.Logger) *publisher {
	t.Helper()
	p := newPublisher(url, exchange, log)
	t.Cleanup(p.close)
	return p
}

// waitConnected returns when the publisher that writes to this log has
// connected for the nth time.
func waitConnected(t *testing.T, logged *logCapture, n int) {
	t.Helper()
	eventually(t, fmt.Sprint("connection ", n), func() bool {
		return len(logged.lines("publisher connected")) >= n
	})
}

// listen returns the messages that reach the exchange from now on.
func listen(t *testing.T, b *testBroker) <-chan amqp.Delivery {
	t.Helper()
	b.declare(t)
	queue, err := b.channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.channel.QueueBind(queue.Name, "", b.exchange, false, nil))
	deliveries, err := b.channel.Consume(queue.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	return deliveries
}

// postPlatform posts a platform and requires that it is created.
func postPlatform(t *testing.T, url, name string) {
	t.Helper()
	resp := send(t, "POST", url+"/api/platforms", `{"name":"`+name+`","publisher":"p","cost":"1"}`)
	require.Equal(t, http.StatusCreated, resp.status, resp.body)
}

func TestPublisher(t *testing.T) {
	t.Run("sends the same event as the .NET service", func(t *testing.T) {
		broker := newTestBroker(t)
		events := listen(t, broker)
		log, logged := captureLog()
		publisher := startPublisher(t, broker.url, broker.exchange, log)
		waitConnected(t, logged, 1)

		store := memoryStore(t)
		for range 3 {
			createPlatform(t, store, "earlier")
		}
		url := serve(t, (&restAPI{store: store, publisher: publisher, log: log}).handler())
		requireProblem(t, send(t, "POST", url+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost") // sends nothing
		postPlatform(t, url, "x")
		event := receive(t, "the event", events)
		assert.Equal(t, `{"Id":4,"Name":"x","Event":"Platform_Published"}`, string(event.Body))
		assert.Equal(t, "application/json", event.ContentType)
		assert.Equal(t, "", event.RoutingKey)
		assert.Equal(t, broker.exchange, event.Exchange)
		assert.Len(t, logged.lines(`msg="event published" id=4`), 1)
	})

	t.Run("declares the exchange of the contract", func(t *testing.T) {
		broker := newTestBroker(t)
		log, logged := captureLog()
		startPublisher(t, broker.url, broker.exchange, log)
		waitConnected(t, logged, 1)

		// The broker refuses to declare it with other properties than it has,
		// and closes the channel.
		declare := func(kind string, durable, autoDelete, passive bool) error {
			connection, err := dialBroker(t.Context(), broker.url)
			require.NoError(t, err)
			defer connection.Close()
			channel, err := connection.Channel()
			require.NoError(t, err)
			if passive { // does not create it
				return channel.ExchangeDeclarePassive(broker.exchange, kind, durable, autoDelete, false, false, nil)
			}
			return channel.ExchangeDeclare(broker.exchange, kind, durable, autoDelete, false, false, nil)
		}
		require.NoError(t, declare("fanout", false, false, true), "it exists")
		assert.NoError(t, declare("fanout", false, false, false))
		assert.Error(t, declare("direct", false, false, false))
		assert.Error(t, declare("fanout", true, false, false))
		assert.Error(t, declare("fanout", false, true, false))
	})

	t.Run("starts without a broker, connects once it is up, and reconnects after a loss", func(t *testing.T) {
		noGoroutineLeft(t)
		broker := newTestBroker(t)
		events := listen(t, broker)
		proxy, url := newBrokerProxy(t, broker.url) // down at first
		log, logged := captureLog()
		publisher := startPublisher(t, url, broker.exchange, log)
		api := serve(t, (&restAPI{store: memoryStore(t), publisher: publisher, log: log}).handler())

		// postLost posts while the broker is down: the event is lost.
		postLost := func(name string) {
			t.Helper()
			require.ErrorIs(t, publisher.publish(t.Context(), []byte("lost")), errNotConnected)
			before := len(logged.lines("event not published"))
			postPlatform(t, api, name)
			require.Len(t, logged.lines("event not published"), before+1)
		}
		eventually(t, "an attempt", func() bool { return len(logged.lines("publisher not connected")) > 0 })
		postLost("while it is down")
		for n := 1; n <= 3; n++ {
			proxy.restore()
			waitConnected(t, logged, n)
			postPlatform(t, api, fmt.Sprint("connection ", n))
			assert.Contains(t, string(receive(t, "the event", events).Body), fmt.Sprint("connection ", n))

			attempts := len(logged.lines("publisher not connected"))
			proxy.cut()
			eventually(t, "a lost connection", func() bool { return len(logged.lines("publisher not connected")) > attempts })
			postLost(fmt.Sprint("after connection ", n))
		}
		assert.Empty(t, logged.lines("unblocks publishers"), "a lost connection is not an unblocked one")
	})

	t.Run("close sends the events published before it", func(t *testing.T) {
		noGoroutineLeft(t)
		broker := newTestBroker(t)
		events := listen(t, broker)
		log, logged := captureLog()
		publisher := startPublisher(t, broker.url, broker.exchange, log)
		waitConnected(t, logged, 1)
		const count = 500
		inParallel(t, 5, func(int) error {
			for range count / 5 {
				if err := publisher.publish(t.Context(), []byte("{}")); err != nil {
					return err
				}
			}
			return nil
		})
		publisher.close()
		for range count {
			receive(t, "an event", events)
		}
		assert.ErrorIs(t, publisher.publish(t.Context(), []byte("{}")), errNotConnected)
	})

	t.Run("close stops the attempts to connect", func(t *testing.T) {
		noGoroutineLeft(t)
		proxy := newTCPProxy(t, "127.0.0.1:1")
		log, logged := captureLog()
		publisher := startPublisher(t, "amqp://"+proxy.addr, "unused", log)
		eventually(t, "an attempt", func() bool { return len(logged.lines("publisher not connected")) > 0 })
		publisher.close()
	})

	t.Run("an exchange of another kind is logged, again and again", func(t *testing.T) {
		broker := newTestBroker(t)
		require.NoError(t, broker.channel.ExchangeDeclare(broker.exchange, "fanout", true, false, false, false, nil))
		log, logged := captureLog()
		publisher := startPublisher(t, broker.url, broker.exchange, log)
		eventually(t, "two attempts", func() bool { return len(logged.lines("PRECONDITION_FAILED")) >= 2 })
		assert.ErrorIs(t, publisher.publish(t.Context(), []byte("{}")), errNotConnected)
	})

	t.Run("connects again when the broker closes the channel", func(t *testing.T) {
		broker := newTestBroker(t)
		log, logged := captureLog()
		publisher := startPublisher(t, broker.url, broker.exchange, log)
		waitConnected(t, logged, 1)
		require.NoError(t, broker.channel.ExchangeDelete(broker.exchange, false, false))
		require.NoError(t, publisher.publish(t.Context(), []byte("to nowhere"))) // which gets a 404 from the broker
		waitConnected(t, logged, 2)
		events := listen(t, broker)
		require.NoError(t, publisher.publish(t.Context(), []byte("{}")))
		receive(t, "the event", events)
	})
}

func TestRunPublishes(t *testing.T) {
	noGoroutineLeft(t)
	broker := newTestBroker(t)
	events := listen(t, broker)
	cfg := testConfig(t)
	cfg.RabbitMQURL, cfg.Exchange = broker.url, broker.exchange
	service := startService(t, cfg)
	service.waitReady(t)
	waitConnected(t, service.log, 1)
	postPlatform(t, service.url, "x")
	assert.Equal(t, `{"Id":1,"Name":"x","Event":"Platform_Published"}`, string(receive(t, "the event", events).Body))
	service.stop()
	require.NoError(t, receive(t, "the end of Run", service.stopped))
}
