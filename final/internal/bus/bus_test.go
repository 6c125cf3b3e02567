package bus_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/platformservice"
)

// Both buses have to keep the same contract: what a service may rely on with
// one it may rely on with the other.

// testedBus is a bus that no other test uses.
type testedBus struct {
	publisher   bus.Publisher
	subscriber  func(queue string) bus.Subscriber
	deadLetters func(t *testing.T, queue string) []bus.DeadLetter
	spans       *tracetest.SpanRecorder
}

// recordSpans returns a tracer, and what keeps its spans.
func recordSpans() (trace.Tracer, *tracetest.SpanRecorder) {
	recorder := tracetest.NewSpanRecorder()
	return sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer(""), recorder
}

// retryDelays are those of the tested buses.
func retryDelays() []time.Duration {
	return []time.Duration{50 * time.Millisecond, 100 * time.Millisecond}
}

func TestMemory(t *testing.T) {
	testBus(t, func(*testing.T) testedBus {
		tracer, spans := recordSpans()
		memory := &bus.Memory{RetryDelays: retryDelays(), Tracer: tracer}
		return testedBus{memory, memory.Subscriber, func(_ *testing.T, queue string) []bus.DeadLetter {
			return memory.DeadLetters(queue)
		}, spans}
	})
}

func TestRabbitMQ(t *testing.T) {
	url := os.Getenv("RABBITMQ_URL")
	if url == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	testBus(t, func(t *testing.T) testedBus {
		prefix := "bus-" + rand.Text() + "."
		log := slog.New(slog.DiscardHandler)
		tracer, spans := recordSpans()
		connection, err := bus.Dial(context.Background(), url, tlsconfig.Files{}, bus.BrokerTimeout)
		require.NoError(t, err)
		t.Cleanup(func() { connection.Close() })
		channel, err := connection.Channel()
		require.NoError(t, err)
		publisher := platformservice.NewRabbitMQPublisher(
			platformservice.Config{RabbitMQURL: url, Exchange: prefix + "exchange"}, prometheus.NewRegistry(), log)
		t.Cleanup(func() { assert.NoError(t, channel.ExchangeDelete(prefix+"exchange", false, false)) })
		t.Cleanup(publisher.Close)
		return testedBus{
			publisher,
			func(queue string) bus.Subscriber {
				queue = prefix + queue
				t.Cleanup(func() {
					for _, name := range []string{queue, queue + ".dead", queue + ".retry.50ms", queue + ".retry.100ms"} {
						_, err := channel.QueueDelete(name, false, false, false)
						assert.NoError(t, err)
					}
				})
				consumed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "consumed"}, []string{"result"})
				return commandsservice.NewRabbitMQSubscriber(commandsservice.Config{RabbitMQURL: url, Exchange: prefix + "exchange",
					Queue: queue, Prefetch: 200, RetryDelays: retryDelays()}, prometheus.NewRegistry(), consumed, tracer, log)
			},
			func(t *testing.T, queue string) []bus.DeadLetter {
				return deadLetters(t, channel, prefix+queue+".dead")
			},
			spans,
		}
	})
}

// deadLetters removes the messages from a queue.
func deadLetters(t *testing.T, channel *amqp.Channel, queue string) []bus.DeadLetter {
	t.Helper()
	var letters []bus.DeadLetter
	for {
		d, ok, err := channel.Get(queue, true)
		require.NoError(t, err)
		if !ok {
			return letters
		}
		letter := bus.DeadLetter{Message: bus.Message{ID: d.MessageId, Type: d.Type, Time: d.Timestamp, Body: d.Body}}
		letter.Reason, _ = d.Headers[bus.ErrorHeader].(string)
		letter.Message.Headers = map[string]string{"traceparent": fmt.Sprint(d.Headers["traceparent"])}
		letters = append(letters, letter)
	}
}

func testBus(t *testing.T, open func(*testing.T) testedBus) {
	t.Run("every queue gets every message, unchanged and in order", func(t *testing.T) {
		b := open(t)
		first, second := b.listen(t, "first", nil), b.listen(t, "second", nil)
		published := messages(3000)
		b.publish(t, published...)
		for _, m := range published {
			require.Equal(t, m, first.next(t))
			require.Equal(t, m, second.next(t))
		}
	})

	t.Run("waiting messages arrive in batches", func(t *testing.T) {
		b := open(t)
		first, goOn := make(chan struct{}), make(chan struct{})
		var once sync.Once
		largest, pause := 0, time.Millisecond
		l := b.listen(t, "queue", func(_ context.Context, batch []bus.Message) []error {
			once.Do(func() { close(first); <-goOn })
			if largest = max(largest, len(batch)); largest <= 10 {
				<-time.After(pause) // messages gather meanwhile, on a slow machine too
				pause *= 2
			}
			return nil
		})
		b.publish(t, messages(1000)...)
		wait(t, first)
		close(goOn)
		for range 1000 {
			l.next(t)
		}
		l.stop()
		require.Greater(t, largest, 10)
	})

	t.Run("the subscribers of a queue share its messages", func(t *testing.T) {
		b := open(t)
		goOn := make(chan struct{})
		waits := func(context.Context, []bus.Message) []error { <-goOn; return nil }
		one, two := b.listen(t, "queue", waits), b.listen(t, "queue", waits)
		published := messages(1000)
		b.publish(t, published...)
		close(goOn)
		got := map[string]bus.Message{} // one that is delivered twice counts once
		for len(got) < len(published) {
			select {
			case m := <-one.handled:
				got[m.ID] = m
			case m := <-two.handled:
				got[m.ID] = m
			case <-time.After(patience):
				require.FailNow(t, "messages are missing", "%d arrived", len(got))
			}
		}
		require.ElementsMatch(t, published, slices.Collect(maps.Values(got)))
	})

	t.Run("a queue keeps messages while nothing subscribes", func(t *testing.T) {
		b := open(t)
		b.listen(t, "queue", nil).stop()
		published := messages(10)
		b.publish(t, published...)
		l := b.listen(t, "queue", nil)
		for _, m := range published {
			require.Equal(t, m, l.next(t))
		}
	})

	t.Run("a message that is not handled is redelivered, and then becomes a dead letter", func(t *testing.T) {
		b := open(t)
		attempts := make(chan string, 10_000)
		l := b.listen(t, "queue", func(_ context.Context, batch []bus.Message) []error {
			errs := make([]error, len(batch))
			for i, m := range batch {
				attempts <- string(m.Body)
				if string(m.Body) == "500" {
					errs[i] = errors.New("the store refuses it")
				}
			}
			return errs
		})
		published := messages(1000)
		b.publish(t, published...)
		for i, m := range published { // those behind it have not waited
			if i != 500 {
				require.Equal(t, m, l.next(t))
			}
		}
		letter := b.deadLetter(t, "queue")
		assert.Equal(t, published[500], letter.Message)
		assert.Equal(t, "the store refuses it", letter.Reason)
		l.stop()
		close(attempts)
		times := map[string]int{}
		for body := range attempts {
			times[body]++
		}
		assert.Equal(t, 1+len(retryDelays()), times["500"])
		assert.Equal(t, 1, times["501"])
	})

	t.Run("a span says what became of a message", func(t *testing.T) {
		b := open(t)
		l := b.listen(t, "queue", func(_ context.Context, batch []bus.Message) []error {
			errs := make([]error, len(batch))
			for i, m := range batch {
				if m.ID != "handled" && m.ID != "in no trace" {
					errs[i] = errors.New("the store refuses it")
				}
			}
			return errs
		})
		const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		b.publish(t,
			bus.Message{ID: "handled", Time: time.Unix(1, 0), Headers: map[string]string{"traceparent": parent}},
			bus.Message{ID: "in no trace", Time: time.Unix(1, 0), Headers: map[string]string{}},
			bus.Message{ID: "refused", Time: time.Unix(1, 0), Headers: map[string]string{}})
		b.deadLetter(t, "queue")
		l.stop()
		var got []string
		for _, span := range b.spans.Ended() {
			assert.Equal(t, "settle Platform_Published", span.Name())
			attributes := map[string]string{}
			for _, a := range span.Attributes() {
				attributes[string(a.Key)] = a.Value.String()
			}
			got = append(got, attributes["messaging.message.id"]+" "+attributes["microcomm.outcome"]+" "+attributes["microcomm.attempt"])
			if attributes["messaging.message.id"] == "handled" {
				assert.Equal(t, "b7ad6b7169203331", span.Parent().SpanID().String())
			} else {
				assert.Equal(t, "the store refuses it", span.Status().Description)
			}
		}
		assert.ElementsMatch(t, []string{"handled acknowledged ", "refused retried 1", "refused retried 2", "refused dead_lettered 3"}, got)
	})

	t.Run("a message that can be handled later is", func(t *testing.T) {
		b := open(t)
		attempts := 0
		l := b.listen(t, "queue", func(_ context.Context, batch []bus.Message) []error {
			if attempts++; attempts == 1 {
				return []error{errors.New("not now")}
			}
			return nil
		})
		published := messages(1)
		b.publish(t, published...)
		require.Equal(t, published[0], l.next(t))
		require.Empty(t, b.deadLetters(t, "queue"))
	})

	t.Run("an unusable message is a dead letter at once", func(t *testing.T) {
		b := open(t)
		attempts := make(chan struct{}, 10)
		l := b.listen(t, "queue", func(_ context.Context, batch []bus.Message) []error {
			attempts <- struct{}{}
			return []error{fmt.Errorf("%w: no JSON", bus.ErrUnusable)}
		})
		published := messages(1)
		b.publish(t, published...)
		letter := b.deadLetter(t, "queue")
		l.stop()
		assert.Equal(t, published[0], letter.Message)
		assert.Equal(t, "unusable message: no JSON", letter.Reason)
		assert.Len(t, attempts, 1)
	})

	t.Run("the batch in hand is finished before Run returns", func(t *testing.T) {
		b := open(t)
		started, finish := make(chan struct{}), make(chan struct{})
		l := b.listen(t, "queue", func(ctx context.Context, _ []bus.Message) []error {
			close(started)
			<-finish
			assert.NoError(t, ctx.Err(), "the handler's context outlives that of Run")
			return nil
		})
		b.publish(t, messages(1)...)
		wait(t, started)
		l.cancel()
		close(finish)
		l.stop()
		require.Len(t, l.handled, 1)

		again := b.listen(t, "queue", nil)
		next := messages(1)
		b.publish(t, next...)
		require.Equal(t, next[0], again.next(t), "the first one is done")
	})

	t.Run("another subscriber gets what one leaves unfinished", func(t *testing.T) {
		t.Parallel() // it takes the time that a subscriber has to finish
		b := open(t)
		started := make(chan struct{})
		stuck := b.listen(t, "queue", func(ctx context.Context, batch []bus.Message) []error {
			close(started)
			<-ctx.Done()
			errs := make([]error, len(batch))
			errs[len(errs)-1] = ctx.Err()
			return errs
		})
		published := messages(1)
		b.publish(t, published...)
		wait(t, started)
		stuck.stop()
		require.Equal(t, published[0], b.listen(t, "queue", nil).next(t))
		require.Empty(t, b.deadLetters(t, "queue"))
	})

	t.Run("a message that reaches no queue is an error", func(t *testing.T) {
		b := open(t)
		require.Eventually(t, func() bool {
			confirmed, err := b.publisher.Publish(t.Context(), messages(3))
			require.Zero(t, confirmed)
			return errors.Is(err, bus.ErrNoQueue)
		}, patience, 10*time.Millisecond)
		l := b.listen(t, "queue", nil)
		published := messages(3)
		confirmed, err := b.publisher.Publish(t.Context(), published)
		require.NoError(t, err)
		require.Equal(t, 3, confirmed)
		require.Equal(t, published[0], l.next(t))
	})

	t.Run("an ended context is an error, and does no harm to the next message", func(t *testing.T) {
		b := open(t)
		l := b.listen(t, "queue", nil)
		b.publish(t, messages(1)...)
		l.next(t)
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		confirmed, err := b.publisher.Publish(ended, messages(1))
		require.ErrorIs(t, err, context.Canceled)
		require.Zero(t, confirmed)
		next := messages(1)
		b.publish(t, next...)
		require.Equal(t, next[0], l.next(t))
	})

	t.Run("no messages are no error", func(t *testing.T) {
		confirmed, err := open(t).publisher.Publish(t.Context(), nil)
		require.NoError(t, err)
		require.Zero(t, confirmed)
	})

	t.Run("the publisher may use the body again", func(t *testing.T) {
		b := open(t)
		l := b.listen(t, "queue", nil)
		m := messages(1)[0]
		m.Body = []byte("first")
		b.publish(t, m)
		copy(m.Body, "XXXXX")
		require.Equal(t, "first", string(l.next(t).Body))
	})
}

// TestMemoryIsBounded: a queue that is never emptied does not fill the memory.
func TestMemoryIsBounded(t *testing.T) {
	memory := &bus.Memory{}
	memory.Subscriber("queue")
	total := 0
	for range 1000 {
		confirmed, err := memory.Publish(t.Context(), messages(1000))
		total += confirmed
		if err != nil {
			require.Zero(t, confirmed)
			require.GreaterOrEqual(t, total, 1000)
			return
		}
	}
	require.Fail(t, "it accepted a million messages")
}

// messages returns n different messages, whose bodies are 0, 1, …
func messages(n int) []bus.Message {
	all := make([]bus.Message, n)
	for i := range all {
		all[i] = bus.Message{ID: rand.Text(), Type: "Platform_Published", Time: time.Unix(1_700_000_000, 0), Body: fmt.Append(nil, i),
			Headers: map[string]string{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	}
	return all
}

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// listener collects what a subscriber handles.
type listener struct {
	handled chan bus.Message // without an error
	cancel  context.CancelFunc
	stop    func() // and waits
}

// listen subscribes, and returns once the queue is there. A nil handle handles
// everything.
func (b testedBus) listen(t *testing.T, queue string, handle func(context.Context, []bus.Message) []error) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{handled: make(chan bus.Message, 10_000), cancel: cancel}
	connected := make(chan struct{})
	onConnect := sync.OnceFunc(func() { close(connected) }) // it may lose the connection, and connect again
	var run sync.WaitGroup
	subscriber := b.subscriber(queue)
	run.Go(func() {
		subscriber.Run(ctx, func(ctx context.Context, batch []bus.Message) (errs []error) {
			if handle != nil {
				errs = handle(ctx, batch)
			}
			for i, m := range batch {
				if errs == nil || errs[i] == nil {
					l.handled <- m
				}
			}
			return errs
		}, onConnect)
	})
	l.stop = func() { cancel(); run.Wait() }
	t.Cleanup(l.stop)
	wait(t, connected)
	return l
}

func (l *listener) next(t *testing.T) bus.Message {
	t.Helper()
	select {
	case m := <-l.handled:
		m.Time = m.Time.Local()
		return m
	case <-time.After(patience):
		require.FailNow(t, "no message arrived")
		return bus.Message{}
	}
}

// publish publishes all messages, once the publisher is connected.
func (b testedBus) publish(t *testing.T, messages ...bus.Message) {
	t.Helper()
	require.Eventually(t, func() bool {
		confirmed, err := b.publisher.Publish(t.Context(), messages)
		if err != nil {
			require.Zero(t, confirmed, err)
			return false
		}
		require.Equal(t, len(messages), confirmed)
		return true
	}, patience, 10*time.Millisecond)
}

// deadLetter waits for the one dead letter of a queue.
func (b testedBus) deadLetter(t *testing.T, queue string) bus.DeadLetter {
	t.Helper()
	var letters []bus.DeadLetter
	require.Eventually(t, func() bool {
		letters = append(letters, b.deadLetters(t, queue)...)
		return len(letters) > 0
	}, patience, 10*time.Millisecond)
	require.Len(t, letters, 1)
	letters[0].Message.Time = letters[0].Message.Time.Local()
	return letters[0]
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		require.FailNow(t, "timed out")
	}
}
