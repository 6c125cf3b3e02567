package commandsservice

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/backoff"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
)

// testBroker is a real broker, and an exchange that nothing else uses.
type testBroker struct{ *testkit.Broker }

func newTestBroker(t *testing.T) *testBroker {
	t.Helper()
	return &testBroker{testkit.NewBroker(t)}
}

// listener is a subscriber that a test runs.
type listener struct {
	bodies     chan string // those of the events received
	connected  chan int    // 1, 2, … as often as it connected
	consumed   *prometheus.CounterVec
	subscriber *rabbitMQSubscriber
	log        *testkit.LogCapture
	registry   *prometheus.Registry
	stop       context.CancelFunc // ends Run
	stopped    chan struct{}      // closed when Run has returned
}

// startListener runs a subscriber until the test ends, or stop is called. Its
// queue is named after the exchange. A nil handle handles everything.
func startListener(t *testing.T, url, exchange string, handle handler, configure ...func(*rabbitMQSubscriber)) *listener {
	t.Helper()
	log, logged := testkit.CaptureLog()
	ctx, cancel := context.WithCancel(context.Background())
	consumed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_consumed_total"}, []string{"result"})
	l := &listener{bodies: make(chan string, 10_000), connected: make(chan int, 100), consumed: consumed, log: logged, registry: prometheus.NewRegistry(),
		stop: cancel, stopped: make(chan struct{})}
	l.subscriber = NewRabbitMQSubscriber(Config{RabbitMQURL: url, Exchange: exchange, Queue: exchange, Prefetch: 100,
		RetryDelays: []time.Duration{50 * time.Millisecond}}, l.registry, consumed, nil, log).(*rabbitMQSubscriber)
	for _, c := range configure {
		c(l.subscriber)
	}
	go func() {
		defer close(l.stopped)
		connections := 0
		l.subscriber.Run(ctx, func(ctx context.Context, batch []bus.Message) (errs []error) {
			if handle != nil {
				errs = handle(ctx, batch)
			}
			for _, m := range batch {
				l.bodies <- string(m.Body)
			}
			return errs
		}, func() { connections++; l.connected <- connections })
	}()
	t.Cleanup(func() {
		cancel()
		testkit.Receive(t, "the end of Run", l.stopped)
	})
	return l
}

// newQueueBroker is newTestBroker for a test that starts a listener: the queues
// go with the test.
func newQueueBroker(t *testing.T) *testBroker {
	t.Helper()
	b := newTestBroker(t)
	t.Cleanup(func() {
		for _, queue := range []string{"", ".dead", ".retry.50ms"} {
			_, err := b.Channel.QueueDelete(b.Exchange+queue, false, false, false)
			assert.NoError(t, err)
		}
	})
	return b
}

// deadLetter waits for a dead letter and removes it.
func (b *testBroker) deadLetter(t *testing.T) amqp.Delivery {
	t.Helper()
	var letter amqp.Delivery
	testkit.Eventually(t, "a dead letter", func() bool {
		var ok bool
		var err error
		letter, ok, err = b.Channel.Get(b.Exchange+".dead", true)
		require.NoError(t, err)
		return ok
	})
	return letter
}

// fail returns a handler to which every event is an error.
func fail(err error) handler {
	return func(_ context.Context, batch []bus.Message) []error {
		errs := make([]error, len(batch))
		for i := range errs {
			errs[i] = err
		}
		return errs
	}
}

// brokerConnected returns the metric of that name.
func brokerConnected(t testing.TB, registry prometheus.Gatherer) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "broker_connected" {
			return family.GetMetric()[0].GetGauge().GetValue()
		}
	}
	require.FailNow(t, "there is no metric broker_connected")
	return 0
}

func TestSubscriber(t *testing.T) {
	t.Run("keeps what is published while it is down", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, nil)
		testkit.Receive(t, "a connection", l.connected)
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
		require.True(t, broker.Publish(t, "x"), "it reaches the queue")
		assert.Equal(t, "x", testkit.Receive(t, "the event", startListener(t, broker.URL, broker.Exchange, nil).bodies))
	})

	t.Run("starts without a broker, and connects once it is up", func(t *testing.T) {
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		l := startListener(t, url, broker.Exchange, nil)
		testkit.Eventually(t, "two attempts", func() bool { return len(l.log.Lines("subscriber not connected, retrying")) >= 2 })
		assert.Empty(t, l.connected)
		assert.Zero(t, brokerConnected(t, l.registry))

		proxy.Restore()
		testkit.Receive(t, "a connection", l.connected)
		assert.Equal(t, 1.0, brokerConnected(t, l.registry))
		broker.Publish(t, "x")
		assert.Equal(t, "x", testkit.Receive(t, "an event", l.bodies))
	})

	t.Run("connects again when the connection is lost, and misses nothing", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		l := startListener(t, url, broker.Exchange, nil)
		for connection := range 3 {
			require.Equal(t, connection+1, testkit.Receive(t, "a connection", l.connected))
			proxy.Cut()
			testkit.Eventually(t, "the loss", func() bool { return !l.subscriber.Connected() })
			require.True(t, broker.Publish(t, fmt.Sprint(connection)))
			proxy.Restore()
			for testkit.Receive(t, "an event", l.bodies) != fmt.Sprint(connection) { // an event may arrive twice
			}
		}
	})

	t.Run("gets a batch again when the connection is lost while it is handled", func(t *testing.T) {
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		began, goOn := make(chan struct{}, 10), make(chan struct{})
		l := startListener(t, url, broker.Exchange, func(context.Context, []bus.Message) []error {
			began <- struct{}{}
			<-goOn
			return nil
		})
		testkit.Receive(t, "a connection", l.connected)
		require.True(t, broker.Publish(t, "x"))
		testkit.Receive(t, "the batch", began)
		proxy.Cut()
		close(goOn)
		proxy.Restore()
		assert.Equal(t, "x", testkit.Receive(t, "the event", l.bodies))
		assert.Equal(t, "x", testkit.Receive(t, "the event again", l.bodies))
	})

	t.Run("declares again what was deleted", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, nil)
		testkit.Receive(t, "a connection", l.connected)
		for _, queue := range []string{"", ".dead", ".retry.50ms"} {
			_, err := broker.Channel.QueueDelete(broker.Exchange+queue, false, false, false)
			require.NoError(t, err)
		}
		require.NoError(t, broker.Channel.ExchangeDelete(broker.Exchange, false, false))
		broker.Declare(t) // as the publisher does
		testkit.Eventually(t, "an event that reaches a queue", func() bool { return broker.Publish(t, "x") })
		assert.Equal(t, "x", testkit.Receive(t, "an event", l.bodies))
		testkit.Eventually(t, "the other queues", func() bool {
			connection, err := bus.Dial(t.Context(), broker.URL, tlsconfig.Files{}, bus.BrokerTimeout)
			require.NoError(t, err)
			defer connection.Close()
			channel, err := connection.Channel()
			require.NoError(t, err)
			_, dead := channel.QueueDeclarePassive(broker.Exchange+".dead", true, false, false, false, nil)
			return dead == nil
		})
	})

	t.Run("a queue with other arguments is an error that says what to do", func(t *testing.T) {
		broker := newTestBroker(t)
		broker.Declare(t)
		_, err := broker.Channel.QueueDeclare(broker.Exchange, true, false, false, false, nil) // a classic queue
		require.NoError(t, err)
		t.Cleanup(func() {
			_, _ = broker.Channel.QueueDelete(broker.Exchange, false, false, false)
			_, _ = broker.Channel.QueueDelete(broker.Exchange+".dead", false, false, false)
		})
		l := startListener(t, broker.URL, broker.Exchange, nil)
		testkit.Eventually(t, "the error", func() bool { return len(l.log.Lines("COMMANDS_QUEUE")) > 0 })
	})
}

func TestSubscriberFailures(t *testing.T) {
	t.Run("a dead letter is the original, and says why", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, fail(errors.New("the store refuses it")))
		testkit.Receive(t, "a connection", l.connected)
		original := amqp.Publishing{ContentType: "application/json", MessageId: "the-id", Type: "t", AppId: "a", Timestamp: time.Unix(1_700_000_000, 0),
			Headers: amqp.Table{"traceparent": "00-x"}, Body: []byte("x")}
		require.NoError(t, broker.Channel.Publish(broker.Exchange, "", false, false, original))
		letter := broker.deadLetter(t)
		assert.Equal(t, "x", string(letter.Body))
		assert.Equal(t, []any{"application/json", "the-id", "t", "a", uint8(amqp.Persistent), int64(1_700_000_000)},
			[]any{letter.ContentType, letter.MessageId, letter.Type, letter.AppId, letter.DeliveryMode, letter.Timestamp.Unix()})
		assert.Equal(t, "00-x", letter.Headers["traceparent"])
		assert.Equal(t, "the store refuses it", letter.Headers[bus.ErrorHeader])
		assert.Equal(t, int32(2), letter.Headers[bus.AttemptsHeader])
		testkit.Eventually(t, "the counters", func() bool {
			return testutil.ToFloat64(l.consumed.WithLabelValues("retried")) == 1 &&
				testutil.ToFloat64(l.consumed.WithLabelValues("dead_lettered")) == 1
		})
	})

	t.Run("the dead letters are counted", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, fail(bus.ErrUnusable))
		testkit.Receive(t, "a connection", l.connected)
		for range 3 {
			require.True(t, broker.Publish(t, "x"))
		}
		testkit.Eventually(t, "the gauge", func() bool { return testutil.ToFloat64(l.subscriber.metrics.deadLetters) == 3 })
	})

	t.Run("a long and odd error fits a header", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, fail(fmt.Errorf("%w: \xff%s", bus.ErrUnusable, strings.Repeat("é", 100_000))))
		testkit.Receive(t, "a connection", l.connected)
		require.True(t, broker.Publish(t, "x"))
		reason := broker.deadLetter(t).Headers[bus.ErrorHeader].(string)
		assert.Contains(t, reason, "unusable message: ?é")
		assert.Less(t, len(reason), 2000)
	})

	t.Run("a message that its consumers die of becomes a dead letter", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, nil)
		testkit.Receive(t, "a connection", l.connected)
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
		require.True(t, broker.Publish(t, "poison"))
		deliveries := 0
		for ; deliveries <= 2*maxRedeliveries; deliveries++ { // a consumer that ends without an acknowledgement
			d, ok, err := broker.Channel.Get(broker.Exchange, false)
			require.NoError(t, err)
			if !ok {
				break
			}
			require.NoError(t, d.Nack(false, true))
		}
		assert.Equal(t, 1+maxRedeliveries, deliveries)
		letter := broker.deadLetter(t)
		assert.Equal(t, "poison", string(letter.Body))
		death := letter.Headers["x-death"].([]any)[0].(amqp.Table)
		assert.Equal(t, "delivery_limit", death["reason"])
	})

	t.Run("what it cannot move stays in the queue until it can", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, func(ctx context.Context, batch []bus.Message) []error {
			_, err := broker.Channel.QueueDelete(broker.Exchange+".dead", false, false, false)
			return []error{errors.Join(err, bus.ErrUnusable)}
		})
		testkit.Receive(t, "a connection", l.connected)
		moved := func() float64 { return testutil.ToFloat64(l.consumed.WithLabelValues("dead_lettered")) }
		for published := 1.0; len(l.log.Lines("there is no queue")) == 0; published++ { // it may have been declared again before the move
			require.True(t, broker.Publish(t, "x"))
			testkit.Eventually(t, "the move", func() bool { return moved() == published })
		}
		assert.Equal(t, "x", string(broker.deadLetter(t).Body))
	})
}

// TestSubscriberHeaders: headers are input, and any publisher can set them.
func TestSubscriberHeaders(t *testing.T) {
	for name, headers := range map[string]amqp.Table{
		"an array": {"CC": []any{"QUEUE"}, "BCC": []any{"QUEUE"}},
		"a text":   {"cc": "QUEUE", "Cc": "QUEUE"}, // the broker refuses a CC that is no array
		"lower":    {"cc": []any{"QUEUE"}, "Bcc": []any{"QUEUE"}},
	} {
		t.Run("a dead letter is not copied to the queues that it names: "+name, func(t *testing.T) {
			broker := newQueueBroker(t)
			l := startListener(t, broker.URL, broker.Exchange, fail(errors.New("refused")))
			testkit.Receive(t, "a connection", l.connected)
			for name, value := range headers {
				if _, text := value.(string); text {
					headers[name] = broker.Exchange // also the name of the queue
				} else {
					headers[name] = []any{broker.Exchange}
				}
			}
			require.NoError(t, broker.Channel.Publish(broker.Exchange, "", false, false, amqp.Publishing{Headers: headers, Body: []byte("x")}))
			letter := broker.deadLetter(t)
			assert.Contains(t, letter.Headers[bus.HeadersHeader], broker.Exchange, "it says what it was")
			require.True(t, broker.Publish(t, "last"))
			assert.Equal(t, "last", string(broker.deadLetter(t).Body))
			testkit.Eventually(t, "both to be counted", func() bool {
				return testutil.ToFloat64(l.consumed.WithLabelValues("dead_lettered")) == 2
			})
		})
	}

	t.Run("attempts that this service did not count end no process", func(t *testing.T) {
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, fail(errors.New("refused")))
		testkit.Receive(t, "a connection", l.connected)
		values := []any{int32(-1), int32(math.MinInt32), int32(math.MaxInt32), int64(math.MaxInt64), int64(-1), int8(-1), byte(255), float64(-1),
			1.5, "-1", []byte{255}, []any{int32(-1)}, amqp.Table{"x": int32(-1)}, true, nil, time.Unix(-1, 0), amqp.Decimal{Value: -1}}
		for i, value := range values {
			require.NoError(t, broker.Channel.Publish(broker.Exchange, "", false, false, amqp.Publishing{
				Headers: amqp.Table{bus.AttemptsHeader: value}, Body: fmt.Append(nil, i)}))
		}
		for range values {
			attempts := broker.deadLetter(t).Headers[bus.AttemptsHeader]
			assert.Equal(t, int32(2), attempts)
		}
		assert.Len(t, l.connected, 0, "on one connection")
	})
}

func TestDestinationOf(t *testing.T) {
	refused, unusable := errors.New("refused"), fmt.Errorf("%w: no JSON", bus.ErrUnusable)
	delays := []time.Duration{time.Second, time.Minute}
	for what, row := range map[string]struct {
		attempts any // the header: of failed attempts before
		err      error
		delays   []time.Duration
		queue    string
		after    int // attempts, with this one
		reason   any // the header
	}{
		"the first failure":                      {nil, refused, delays, "q.retry.1s", 1, nil},
		"the second failure":                     {int32(1), refused, delays, "q.retry.1m0s", 2, nil},
		"the last attempt":                       {int32(2), refused, delays, "q.dead", 3, "refused"},
		"more attempts than there are now":       {int32(7), refused, delays, "q.dead", 3, "refused"},
		"fewer than none":                        {int32(-7), refused, delays, "q.retry.1s", 1, nil},
		"a header that this service never wrote": {"2", refused, delays, "q.retry.1s", 1, nil},
		"no retries":                             {nil, refused, nil, "q.dead", 1, "refused"},
		"unusable at once":                       {nil, unusable, delays, "q.dead", 1, "unusable message: no JSON"},
		"unusable after a retry":                 {int32(1), unusable, delays, "q.dead", 2, "unusable message: no JSON"},
	} {
		t.Run(what, func(t *testing.T) {
			d := amqp.Delivery{MessageId: "id", Body: []byte("x"), Headers: amqp.Table{"traceparent": "00-x"}}
			if row.attempts != nil {
				d.Headers[bus.AttemptsHeader] = row.attempts
			}
			to := destinationOf(delivery{d, row.err}, "q", row.delays)
			assert.Equal(t, []any{row.queue, row.after, row.queue == "q.dead"}, []any{to.queue, to.attempts, to.dead})
			assert.Equal(t, []any{"id", "x", "00-x", int32(row.after), row.reason}, []any{to.message.MessageId, string(to.message.Body),
				to.message.Headers["traceparent"], to.message.Headers[bus.AttemptsHeader], to.message.Headers[bus.ErrorHeader]})
		})
	}
}

// FuzzFailure: whatever the headers of a message that was not handled, it goes to
// a queue of ours, and further each time.
func FuzzFailure(f *testing.F) {
	delays := bus.RetryDelays()
	for kind := range uint8(12) {
		f.Add(bus.AttemptsHeader, kind, "CC", int64(-1), false)
		f.Add("CC", kind, bus.AttemptsHeader, int64(math.MaxInt64), true)
	}
	f.Fuzz(func(t *testing.T, name string, kind uint8, text string, number int64, unusable bool) {
		err := errors.New(text)
		if unusable {
			err = fmt.Errorf("%w: %s", bus.ErrUnusable, text)
		}
		d := delivery{amqp.Delivery{Headers: amqp.Table{name: headerOf(kind, text, number)}, Body: []byte(text)}, err}
		messages([]delivery{d}) // what the handler is passed
		attempts := 0
		for {
			to := destinationOf(d, "q", delays)
			require.NoError(t, to.message.Headers.Validate())
			require.NotContains(t, to.message.Headers, "CC")
			require.Greater(t, to.attempts, attempts)
			require.LessOrEqual(t, to.attempts, 1+len(delays))
			if to.dead {
				require.Equal(t, "q.dead", to.queue)
				return
			}
			require.False(t, unusable)
			require.Equal(t, retryQueue("q", delays[to.attempts-1]), to.queue)
			attempts, d.Headers = to.attempts, to.message.Headers
		}
	})
}

// FuzzEvent: whatever the body of a message, it is a platform with a valid id and
// name, or an error that fits into a line of the log.
func FuzzEvent(f *testing.F) {
	f.Add([]byte(recordedEvent))
	f.Add([]byte(`{"Id":-1,"Name":"\ud800","Event":"Platform_Published"}`))
	f.Add([]byte(`{"Event":"Other"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		p, err := decodePlatformPublished(body)
		if err != nil {
			require.Less(t, len(short(err)), 2500)
			return
		}
		require.NoError(t, p.validate())
	})
}

// headerOf returns a header of any kind.
func headerOf(kind uint8, text string, number int64) any {
	kinds := []any{int32(number), number, nil, number%2 == 0, byte(number), int8(number), int16(number), math.Float64frombits(uint64(number)),
		text, []byte(text), time.Unix(number, 0), amqp.Decimal{Value: int32(number)}, []any{text, number}, amqp.Table{text: number}}
	return kinds[int(kind)%len(kinds)]
}

func TestSubscriberPace(t *testing.T) {
	// backlog publishes bodies before there is a subscriber, and returns the sizes
	// of the batches in which one receives them. handle is passed those so far.
	backlog := func(t *testing.T, handle func(broker *testBroker, sizes []int), bodies ...string) []int {
		t.Helper()
		broker := newQueueBroker(t)
		l := startListener(t, broker.URL, broker.Exchange, nil)
		testkit.Receive(t, "a connection", l.connected)
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
		for _, body := range bodies {
			require.True(t, broker.Publish(t, body))
		}
		var sizes []int
		l = startListener(t, broker.URL, broker.Exchange, func(_ context.Context, batch []bus.Message) []error {
			sizes = append(sizes, len(batch))
			handle(broker, sizes)
			return nil
		})
		for range bodies {
			testkit.Receive(t, "an event", l.bodies)
		}
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
		return sizes
	}

	t.Run("the first message is received alone, those after it in batches", func(t *testing.T) {
		pause := time.Millisecond
		sizes := backlog(t, func(broker *testBroker, sizes []int) {
			switch {
			case len(sizes) == 1:
				broker.waitReady(t, 199) // none is sent ahead: its size is not known
			case len(sizes) == 3:
				testkit.Eventually(t, "many that are sent ahead", func() bool { return broker.ready(t) < 120 })
			case slices.Max(sizes) <= 5: // what was sent may not have arrived yet
				<-time.After(pause)
				pause *= 2
			}
		}, slices.Repeat([]string{"x"}, 200)...)
		assert.Equal(t, 1, sizes[0])
		assert.Greater(t, slices.Max(sizes), 5)
	})

	t.Run("so is the first message after a quiet time", func(t *testing.T) {
		broker := newQueueBroker(t)
		began, goOn := make(chan int, 100), make(chan struct{})
		l := startListener(t, broker.URL, broker.Exchange, func(_ context.Context, batch []bus.Message) []error {
			began <- len(batch)
			<-goOn
			return nil
		})
		testkit.Receive(t, "a connection", l.connected)
		require.True(t, broker.Publish(t, "x"))
		testkit.Receive(t, "the first message", began)
		goOn <- struct{}{}
		testkit.Receive(t, "its end", l.bodies)
		<-time.After(5 * quietAfter) // what is tested is the passing of time; it then asks the broker for less
		for range 10 {
			require.True(t, broker.Publish(t, "x"))
		}
		testkit.Receive(t, "the next message", began)
		broker.waitReady(t, 9) // none is sent ahead
		close(goOn)
	})

	t.Run("after a message larger than an event the next ones are received one at a time", func(t *testing.T) {
		bodies := append([]string{strings.Repeat("x", maxEvent+1)}, slices.Repeat([]string{"x"}, 60)...)
		sizes := backlog(t, func(broker *testBroker, sizes []int) {
			if len(sizes) == 10 {
				broker.waitReady(t, len(bodies)-10)
			}
		}, bodies...)
		assert.Equal(t, slices.Repeat([]int{1}, len(bodies)), sizes)
	})
}

// ready returns how many messages in the queue are not on their way to a
// subscriber, or 0 when the queue does not answer the broker within 250 ms.
func (b *testBroker) ready(t testing.TB) int {
	t.Helper()
	queue, err := b.Channel.QueueDeclarePassive(b.Exchange, true, false, false, false, nil)
	require.NoError(t, err)
	return queue.Messages
}

// waitReady returns when count messages are ready.
func (b *testBroker) waitReady(t testing.TB, count int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprint(count, " messages in the queue"), func() bool { return b.ready(t) == count })
}

// TestSubscriberUnreadable: a message that the library cannot read ends the
// connection of any subscriber that receives it.
func TestSubscriberUnreadable(t *testing.T) {
	deep := amqp.Table{}
	for range 40 {
		deep = amqp.Table{"x": deep}
	}
	wide := amqp.Table{}
	for i := range 8193 {
		wide[fmt.Sprint(i)] = nil
	}
	for what, headers := range map[string]amqp.Table{"nested too deep": deep, "of too many entries": wide} {
		t.Run("headers "+what+": the message is dead-lettered, and no other with it", func(t *testing.T) {
			broker := newQueueBroker(t)
			const limit, good = 4, 462
			few := func(s *rabbitMQSubscriber) { s.limit = limit }
			l := startListener(t, broker.URL, broker.Exchange, nil, few)
			testkit.Receive(t, "a connection", l.connected)
			l.stop()
			testkit.Receive(t, "the end of Run", l.stopped)
			for i := range good {
				if i == 200 {
					require.NoError(t, broker.Channel.Publish(broker.Exchange, "", false, false, amqp.Publishing{Headers: headers, Body: []byte("unreadable")}))
				}
				require.True(t, broker.Publish(t, fmt.Sprint(i)))
			}
			l = startListener(t, broker.URL, broker.Exchange, nil, few)
			handled := map[string]bool{}
			for len(handled) < good {
				handled[testkit.Receive(t, "an event", l.bodies)] = true
			}
			assert.NotContains(t, handled, "unreadable")
			testkit.Eventually(t, "the dead letter", func() bool {
				dead, err := broker.Channel.QueueDeclarePassive(broker.Exchange+".dead", true, false, false, false, nil)
				require.NoError(t, err)
				require.LessOrEqual(t, dead.Messages, 1)
				return dead.Messages == 1
			})
			assert.LessOrEqual(t, len(l.log.Lines("connection lost")), limit+3)
			assert.Zero(t, testutil.ToFloat64(l.consumed.WithLabelValues("dead_lettered")))
		})
	}

	t.Run("the pause before the next connection grows until a message is acknowledged", func(t *testing.T) {
		p := pace{alone: 1, prefetch: 100}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		for range 10 {
			_ = p.pause.Wait(ended)
		}
		assert.Equal(t, backoff.LongestPause, p.pause.Pause)
		p.settled(make([]delivery, 1), 0)
		assert.Equal(t, backoff.LongestPause, p.pause.Pause)
		p.settled(make([]delivery, 1), 1)
		assert.Zero(t, p.pause.Pause)
	})
}

// TestSubscriberBlocked: a broker with an alarm for memory or disk reads nothing
// more from a connection that has published.
func TestSubscriberBlocked(t *testing.T) {
	// start starts a subscriber to such a broker that refuses "bad".
	start := func(t *testing.T) (*testBroker, *listener) {
		t.Helper()
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		proxy.Hold()
		l := startListener(t, url, broker.Exchange, func(_ context.Context, batch []bus.Message) []error {
			errs := make([]error, len(batch))
			for i, m := range batch {
				if strings.HasPrefix(string(m.Body), "bad") {
					errs[i] = bus.ErrUnusable
				}
			}
			return errs
		})
		testkit.Receive(t, "a connection", l.connected)
		return broker, l
	}

	t.Run("events behind one that cannot be moved are handled and acknowledged", func(t *testing.T) {
		broker, l := start(t)
		for i := range 10 {
			require.True(t, broker.Publish(t, fmt.Sprint("bad ", i)))
		}
		const good = 300 // more than the broker sends ahead
		for i := range good {
			require.True(t, broker.Publish(t, fmt.Sprint(i)))
		}
		for next := 0; next < good; {
			if body := testkit.Receive(t, "an event", l.bodies); body == fmt.Sprint(next) {
				next++
			}
		}
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
		broker.waitReady(t, 10) // those that could not be moved, and no others
	})

	t.Run("a stop does not wait for the end of the alarm", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		broker, l := start(t)
		require.True(t, broker.Publish(t, "bad"))
		testkit.Receive(t, "the event", l.bodies)
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
	})

	t.Run("a lost connection is not a queue that does not exist", func(t *testing.T) {
		broker := newQueueBroker(t)
		proxy, url := testkit.NewBrokerProxy(t, broker.URL)
		proxy.Restore()
		proxy.Hold()
		l := startListener(t, url, broker.Exchange, fail(bus.ErrUnusable))
		testkit.Receive(t, "a connection", l.connected)
		require.True(t, broker.Publish(t, "x"))
		testkit.Receive(t, "the event", l.bodies)
		proxy.Cut()
		testkit.Eventually(t, "the loss", func() bool { return len(l.log.Lines("subscriber not connected")) > 0 })
		assert.Empty(t, l.log.Lines("no queue"))
		assert.Empty(t, l.log.Lines("was deleted"))
	})
}

func TestSubscriberStop(t *testing.T) {
	t.Run("stops while there is no broker", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		l := startListener(t, "amqp://127.0.0.1:1/", "unused", nil)
		testkit.Eventually(t, "an attempt", func() bool { return len(l.log.Lines("subscriber not connected")) > 0 })
		l.stop()
		testkit.Receive(t, "the end of Run", l.stopped)
	})
}

func TestRunReceivesEvents(t *testing.T) {
	broker := newQueueBroker(t)
	proxy, url := testkit.NewBrokerProxy(t, broker.URL)
	cfg := testConfig(t)
	cfg.RabbitMQURL, cfg.Exchange, cfg.Queue = url, broker.Exchange, broker.Exchange
	service := startService(t, cfg)
	service.waitReady(t)

	// There is no broker yet, and the service runs.
	testkit.Eventually(t, "an attempt", func() bool { return len(service.Log.Lines("subscriber not connected")) > 0 })
	testkit.Eventually(t, "readiness", func() bool { return testkit.Send(t, "GET", service.URL+"/readyz", "").Status == http.StatusOK })

	proxy.Restore()
	testkit.Eventually(t, "a connection", func() bool { return len(service.Log.Lines("subscriber connected")) == 1 })
	require.True(t, broker.Publish(t, "no JSON"))
	require.True(t, broker.Publish(t, recordedEvent))
	testkit.Eventually(t, "the platform", func() bool { return len(service.Log.Lines("platform received by event")) == 1 })
	testkit.RequireJSON(t, testkit.Send(t, "GET", service.URL+"/api/c/platforms", ""), http.StatusOK, `[{"id":4,"name":"x"}]`)
	assert.Equal(t, "no JSON", string(broker.deadLetter(t).Body))
}
