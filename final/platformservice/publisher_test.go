package platformservice

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/outbox"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// startPublisher returns a publisher that is closed when the test ends.
func startPublisher(t *testing.T, url, exchange string, log *slog.Logger) bus.Publisher {
	t.Helper()
	publisher := NewRabbitMQPublisher(Config{RabbitMQURL: url, Exchange: exchange}, prometheus.NewRegistry(), log)
	t.Cleanup(publisher.Close)
	return publisher
}

// publishOne publishes a message with this body.
func publishOne(t *testing.T, publisher bus.Publisher, body string) error {
	_, err := publisher.Publish(t.Context(), []bus.Message{{ID: rand.Text(), Body: []byte(body)}})
	return err
}

// waitConnected returns when the publisher that writes to this log has
// connected for the nth time.
func waitConnected(t *testing.T, logged *testkit.LogCapture, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprint("connection ", n), func() bool {
		return len(logged.Lines("publisher connected")) >= n
	})
}

// listen returns the messages that reach the exchange from now on.
func listen(t *testing.T, b *testkit.Broker) <-chan amqp.Delivery {
	t.Helper()
	b.Declare(t)
	queue, err := b.Channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, b.Channel.QueueBind(queue.Name, "", b.Exchange, false, nil))
	deliveries, err := b.Channel.Consume(queue.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	return deliveries
}

// serveRelay serves the REST API over store, and publishes what it creates.
func serveRelay(t *testing.T, store platformStore, publisher bus.Publisher, log *slog.Logger) (url string) {
	t.Helper()
	relay := outbox.NewRelay(store, publisher, prometheus.NewRegistry(), noop.NewTracerProvider().Tracer(""), log)
	relay.Start()
	t.Cleanup(relay.Stop)
	return testkit.Serve(t, (&restAPI{store: store, wake: relay.Wake, slots: web.NewSlots(100), log: log}).handler())
}

// postPlatform posts a platform and requires that it is created.
func postPlatform(t *testing.T, url, name string) {
	t.Helper()
	a := testkit.Send(t, "POST", url+"/api/platforms", `{"name":"`+name+`","publisher":"p","cost":"1"}`)
	require.Equal(t, http.StatusCreated, a.Status, a.Body)
}

func TestPublisher(t *testing.T) {
	t.Run("sends the same event as the .NET service", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		events := listen(t, broker)
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)

		url := serveRelay(t, memoryStore(t), publisher, log)
		testkit.RequireProblem(t, testkit.Send(t, "POST", url+"/api/platforms", `{}`), http.StatusBadRequest, "name", "publisher", "cost") // sends nothing
		postPlatform(t, url, "x")
		event := testkit.Receive(t, "the event", events)
		assert.Equal(t, `{"Id":1,"Name":"x","Event":"Platform_Published"}`, string(event.Body))
		assert.Equal(t, "application/json", event.ContentType)
		assert.Equal(t, "", event.RoutingKey)
		assert.Equal(t, broker.Exchange, event.Exchange)
	})

	t.Run("declares the exchange of the contract", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		log, logged := testkit.CaptureLog()
		startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)
		require.NoError(t, broker.Channel.ExchangeDeclarePassive(broker.Exchange, "fanout", true, false, false, false, nil))
		broker.Declare(t) // another kind of exchange would be a 406
	})

	t.Run("sends the properties of the contract", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		events := listen(t, broker)
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)
		headers := map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=b"}
		now := time.Now()
		confirmed, err := publisher.Publish(t.Context(), []bus.Message{
			{ID: "the-id", Type: "Platform_Published", Time: now, Body: []byte("{}"), Headers: headers}})
		require.NoError(t, err)
		require.Equal(t, 1, confirmed)
		event := testkit.Receive(t, "the event", events)
		assert.Equal(t, amqp.Table{"traceparent": headers["traceparent"], "tracestate": "a=b"}, event.Headers)
		assert.Equal(t, now.Unix(), event.Timestamp.Unix())
		assert.Equal(t, []any{amqp.Persistent, "application/json", "Platform_Published", "platformservice", "the-id"},
			[]any{event.DeliveryMode, event.ContentType, event.Type, event.AppId, event.MessageId})
	})

	t.Run("passes events on to the .NET services' exchange when asked to", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		require.NoError(t, broker.Channel.ExchangeDeclare(legacyExchange, "fanout", false, false, false, false, nil))
		queue, err := broker.Channel.QueueDeclare("", false, true, true, false, nil)
		require.NoError(t, err)
		require.NoError(t, broker.Channel.QueueBind(queue.Name, "", legacyExchange, false, nil))
		events, err := broker.Channel.Consume(queue.Name, "", true, true, false, false, nil)
		require.NoError(t, err)
		log, logged := testkit.CaptureLog()
		publisher := NewRabbitMQPublisher(Config{RabbitMQURL: broker.URL, Exchange: broker.Exchange, BindTrigger: true}, prometheus.NewRegistry(), log)
		defer publisher.Close()
		waitConnected(t, logged, 1)
		require.NoError(t, publishOne(t, publisher, "x"))
		assert.Equal(t, "x", string(testkit.Receive(t, "the event", events).Body))
	})

	t.Run("confirms in order the messages before a refused one", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		broker.Declare(t)
		// The third message finds the queue full, and is refused.
		queue, err := broker.Channel.QueueDeclare("", false, true, true, false, amqp.Table{"x-max-length": 2, "x-overflow": "reject-publish"})
		require.NoError(t, err)
		require.NoError(t, broker.Channel.QueueBind(queue.Name, "", broker.Exchange, false, nil))
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)
		confirmed, err := publisher.Publish(t.Context(), make([]bus.Message, 5))
		require.ErrorIs(t, err, bus.ErrRefused)
		require.Equal(t, 2, confirmed)
	})

	t.Run("a connection lost while publishing ends the batch", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		broker := testkit.NewBroker(t)
		events := listen(t, broker)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, url, broker.Exchange, log)
		waitConnected(t, logged, 1)
		batch := make([]bus.Message, 50_000)
		for i := range batch {
			batch[i] = bus.Message{ID: fmt.Sprint(i), Body: fmt.Append(nil, i)}
		}
		type result struct {
			confirmed int
			err       error
		}
		results := make(chan result, 1)
		go func() {
			confirmed, err := publisher.Publish(t.Context(), batch)
			results <- result{confirmed, err}
		}()
		arrived := map[string]bool{string(testkit.Receive(t, "an event", events).Body): true}
		proxy.Cut()
		got := testkit.Receive(t, "the end of Publish", results)
		require.Error(t, got.err)
		require.NotErrorIs(t, got.err, bus.ErrRefused, "it says what happened")
		require.Less(t, got.confirmed, len(batch))
		for n := range got.confirmed { // what is confirmed has arrived
			for !arrived[fmt.Sprint(n)] {
				arrived[string(testkit.Receive(t, "an event that was confirmed", events).Body)] = true
			}
		}
	})

	t.Run("starts without a broker, connects once it is up, and reconnects after a loss", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		broker := testkit.NewBroker(t)
		events := listen(t, broker)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL) // down at first
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, url, broker.Exchange, log)
		testkit.Eventually(t, "an attempt", func() bool { return len(logged.Lines("publisher not connected")) > 0 })
		for n := 1; n <= 3; n++ {
			require.ErrorIs(t, publishOne(t, publisher, "while it is down"), errNotConnected)
			proxy.Restore()
			waitConnected(t, logged, n)
			require.NoError(t, publishOne(t, publisher, fmt.Sprint("connection ", n)))
			assert.Contains(t, string(testkit.Receive(t, "the event", events).Body), fmt.Sprint("connection ", n))

			attempts := len(logged.Lines("publisher not connected"))
			proxy.Cut()
			testkit.Eventually(t, "a lost connection", func() bool { return len(logged.Lines("publisher not connected")) > attempts })
		}
		assert.Empty(t, logged.Lines("unblocks publishers"), "a lost connection is not an unblocked one")
	})

	t.Run("Close ends tries to connect", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		proxy := testkit.NewProxy(t, "127.0.0.1:1")
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, "amqp://"+proxy.Addr, "unused", log)
		testkit.Eventually(t, "an attempt", func() bool { return len(logged.Lines("publisher not connected")) > 0 })
		publisher.Close()
	})

	t.Run("an exchange of another kind is logged, again and again", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		require.NoError(t, broker.Channel.ExchangeDeclare(broker.Exchange, "fanout", false, false, false, false, nil))
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		testkit.Eventually(t, "two attempts", func() bool { return len(logged.Lines("PRECONDITION_FAILED")) >= 2 })
		assert.Contains(t, logged.Lines("PRECONDITION_FAILED")[0], "RABBITMQ_EXCHANGE", "what to do")
		assert.ErrorIs(t, publishOne(t, publisher, "{}"), errNotConnected)
	})

	t.Run("connects again when the broker closes the channel", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)
		testkit.Eventually(t, "a 404 from the broker", func() bool {
			require.NoError(t, broker.Channel.ExchangeDelete(broker.Exchange, false, false))
			err := publishOne(t, publisher, "to nowhere")
			require.Error(t, err)
			return !errors.Is(err, bus.ErrNoQueue) // else it was just declared again
		})
		waitConnected(t, logged, 2)
		events := listen(t, broker)
		require.NoError(t, publishOne(t, publisher, "{}"))
		testkit.Receive(t, "the event", events)
	})

	t.Run("declares the exchange again when it was deleted", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, broker.URL, broker.Exchange, log)
		waitConnected(t, logged, 1)
		require.NoError(t, broker.Channel.ExchangeDelete(broker.Exchange, false, false))
		testkit.Eventually(t, "the exchange", func() bool { return errors.Is(publishOne(t, publisher, "x"), bus.ErrNoQueue) })
	})

	t.Run("refuses events while the broker blocks publishers", func(t *testing.T) {
		broker := testkit.NewBroker(t)
		events := listen(t, broker)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, url, broker.Exchange, log)
		waitConnected(t, logged, 1)

		// Frames of AMQP 0-9-1: type 1, channel 0, size, connection (10) method, end.
		proxy.Say(t, "\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x3c\x0alow on ram\xce") // blocked (60), with the reason
		testkit.Eventually(t, "the unblocking", func() bool { return len(logged.Lines(`reason="low on ram"`)) == 1 })
		assert.ErrorIs(t, publishOne(t, publisher, "{}"), errNotConnected)
		proxy.Say(t, "\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x3d\xce") // unblocked (61)
		testkit.Eventually(t, "the unblocking", func() bool { return len(logged.Lines("unblocks publishers")) == 1 })
		require.NoError(t, publishOne(t, publisher, "{}"))
		testkit.Receive(t, "the event", events)
	})

	t.Run("a broker that stops reading does not hold up a POST forever", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		broker := testkit.NewBroker(t)
		broker.Declare(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		log, logged := testkit.CaptureLog()
		publisher := startPublisher(t, url, broker.Exchange, log)
		waitConnected(t, logged, 1)
		proxy.Stall()

		// The first ones fit in the buffers on the way.
		body := strings.Repeat("x", 4<<20)
		failed := make(chan error, 1)
		go func() {
			for range 100 {
				if err := publishOne(t, publisher, body); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
		assert.Error(t, testkit.Receive(t, "an error of Publish", failed))
		// The connection counts as lost, and is abandoned.
		testkit.Eventually(t, "a lost connection", func() bool { return len(logged.Lines("publisher not connected")) > 0 })
	})
}

func TestRunPublishes(t *testing.T) {
	testkit.NoGoroutineLeft(t)
	broker := testkit.NewBroker(t)
	events := listen(t, broker)
	cfg := testConfig(t)
	cfg.RabbitMQURL, cfg.Exchange = broker.URL, broker.Exchange
	service := startService(t, cfg)
	service.waitReady(t)
	waitConnected(t, service.Log, 1)
	postPlatform(t, service.URL, "x")
	assert.Equal(t, `{"Id":1,"Name":"x","Event":"Platform_Published"}`, string(testkit.Receive(t, "the event", events).Body))
	service.Stop()
	require.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))
}
