package platformservice

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/outbox"
	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// testPublisher is a bus whose failures a test decides. It keeps what it has
// confirmed.
type testPublisher struct {
	publish func(ctx context.Context, messages []bus.Message) (confirmed int, err error) // nil: all are confirmed

	mu        sync.Mutex
	confirmed []bus.Message
}

func (p *testPublisher) Publish(ctx context.Context, messages []bus.Message) (int, error) {
	n, err := len(messages), error(nil)
	if p.publish != nil {
		n, err = p.publish(ctx, messages)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.confirmed = append(p.confirmed, messages[:n]...)
	return n, err
}

func (p *testPublisher) Connected() bool { return true }

func (p *testPublisher) Close() {}

// bodies returns the bodies of the messages that were confirmed.
func (p *testPublisher) bodies() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	bodies := make([]string, len(p.confirmed))
	for i, m := range p.confirmed {
		bodies[i] = string(m.Body)
	}
	return bodies
}

// forgetRepeated keeps each message only as it was first confirmed.
func (p *testPublisher) forgetRepeated() {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := map[string]bool{}
	p.confirmed = slices.DeleteFunc(p.confirmed, func(m bus.Message) bool {
		repeated := known[m.ID]
		known[m.ID] = true
		return repeated
	})
}

// waitAll returns when all events of store have been confirmed and marked.
func (p *testPublisher) waitAll(t *testing.T, store platformStore) {
	t.Helper()
	testkit.Eventually(t, "all events to be published", func() bool { return len(pending(t, store)) == 0 })
}

// startTestRelay runs a relay until the test ends.
func startTestRelay(t *testing.T, store outbox.Store, publisher bus.Publisher) *outbox.Relay {
	t.Helper()
	log, _ := testkit.CaptureLog()
	return startLoggingRelay(t, store, publisher, prometheus.NewRegistry(), log)
}

func fileStores(t *testing.T, count int) []platformStore {
	t.Helper()
	url := "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")
	stores := make([]platformStore, count)
	for i := range stores {
		stores[i] = openTestStore(t, url)
	}
	return stores
}

func TestRelay(t *testing.T) {
	t.Run("publishes everything once, in order", func(t *testing.T) {
		store, publisher := fileStores(t, 1)[0], &testPublisher{}
		createPlatform(t, store, "before it starts")
		relay := startTestRelay(t, store, publisher)
		for n := range 3 * outbox.BatchSize {
			createPlatform(t, store, fmt.Sprint(n))
			relay.Wake()
		}
		publisher.waitAll(t, store)
		requireInOrder(t, store, publisher)
	})

	t.Run("a message is the event as it was stored", func(t *testing.T) {
		store, publisher := memoryStore(t), &testPublisher{}
		createPlatform(t, store, "x")
		want := pending(t, store)[0].Message
		startTestRelay(t, store, publisher)
		publisher.waitAll(t, store)
		assert.Equal(t, []bus.Message{want}, publisher.confirmed)
	})

	t.Run("while the bus fails nothing is lost, and what it has confirmed is not sent again", func(t *testing.T) {
		for what, failure := range map[string]error{"down": errors.New("down"), "no queue": bus.ErrNoQueue} {
			t.Run(what, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { // in which no stall of the machine costs the relay its lease
					store := memoryStore(t)
					calls := 0
					var sizes []int
					publisher := &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
						sizes = append(sizes, len(messages))
						switch calls++; calls {
						case 1:
							return 3, failure
						case 2, 3, 5:
							return 0, failure
						}
						return len(messages), nil
					}}
					for n := range 20 {
						createPlatform(t, store, fmt.Sprint(n))
					}
					registry := prometheus.NewRegistry()
					log, logged := testkit.CaptureLog()
					startLoggingRelay(t, store, publisher, registry, log)
					publisher.waitAll(t, store)
					requireInOrder(t, store, publisher)
					result := map[bool]string{true: "returned", false: "failed"}[failure == bus.ErrNoQueue]
					assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(metricsText("confirmed", 20, result, 17+1+1+2)),
						"outbox_published_events_total"))
					assert.Equal(t, []int{20, 1, 1, 1, 2, 1, 2, 4, 8, 1}, sizes, "one until it passes, and then more and more")
					assert.Len(t, logged.Lines("publish failed, retrying"), 2, "once, not at each attempt")
					testkit.Eventually(t, "a line in the log", func() bool { return len(logged.Lines("publishing again")) == 2 })
				})
			})
		}
	})

	t.Run("with many writers and a bus that fails at times nothing is lost", func(t *testing.T) {
		store := fileStores(t, 1)[0]
		calls := 0
		publisher := &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
			if calls++; calls%3 == 0 {
				return len(messages) / 2, errors.New("down")
			}
			return len(messages), nil
		}}
		relay := startTestRelay(t, store, publisher)
		const writers, each = 8, 20 // each failure costs a pause
		testkit.InParallel(t, writers, func(i int) error {
			for n := range each {
				if _, err := store.createPlatform(t.Context(), platform{Name: fmt.Sprint(i, "/", n), Publisher: "p", Cost: "1"}); err != nil {
					return err
				}
				relay.Wake()
			}
			return nil
		})
		publisher.waitAll(t, store)
		requireInOrder(t, store, publisher)
	})

	t.Run("an event that was stored and not published when the process died is published by the next", func(t *testing.T) {
		url := "sqlite:" + filepath.Join(t.TempDir(), "platforms.db")
		store := openTestStore(t, url)
		dying := startTestRelay(t, store, &testPublisher{publish: func(context.Context, []bus.Message) (int, error) {
			return 0, errors.New("down")
		}})
		createPlatform(t, store, "x")
		dying.Stop()
		require.NoError(t, store.close())

		store = openTestStore(t, url)
		publisher := &testPublisher{}
		startTestRelay(t, store, publisher)
		publisher.waitAll(t, store)
		requireInOrder(t, store, publisher)
	})

	t.Run("stop marks what has been confirmed", func(t *testing.T) {
		store, publisher := memoryStore(t), &testPublisher{}
		createPlatform(t, store, "x")
		relay := startTestRelay(t, store, publisher)
		testkit.Eventually(t, "the event", func() bool { return len(publisher.bodies()) == 1 })
		relay.Stop()
		assert.Empty(t, pending(t, store))
	})

	t.Run("deletes what it no longer needs", func(t *testing.T) {
		store := memoryStore(t)
		createPlatform(t, store, "x")
		execSQL(t, store, `UPDATE outbox SET published_at = created_at - 7200000`, "")
		startTestRelay(t, store, &testPublisher{})
		testkit.Eventually(t, "an empty outbox", func() bool { return countRows(t, store, "outbox") == 0 })
	})
}

func TestRelaysOfTwoReplicas(t *testing.T) {
	t.Run("one publishes at a time, and the other when it stops", func(t *testing.T) {
		stores := fileStores(t, 2)
		var publishing sync.Mutex
		publisher := &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
			if !publishing.TryLock() {
				t.Error("two publish at the same time")
				return 0, errors.New("another publishes")
			}
			defer publishing.Unlock()
			return len(messages), nil
		}}
		log, logged := testkit.CaptureLog()
		relays := make([]*outbox.Relay, len(stores))
		for i, store := range stores {
			relays[i] = startLoggingRelay(t, store, publisher, prometheus.NewRegistry(), log)
		}
		create := func(n int) {
			testkit.InParallel(t, 2, func(i int) error {
				for range n {
					createPlatform(t, stores[i], "x")
					relays[i].Wake()
				}
				return nil
			})
		}
		create(30) // not so many that one store waits for the other's commits until it gives up, however slow the disk
		publisher.waitAll(t, stores[0])
		relays[0].Stop()
		create(10)
		publisher.waitAll(t, stores[0])
		if len(logged.Lines("lease lost")) > 0 { // on a machine that has stalled: what was not marked in time was published again
			publisher.forgetRepeated()
		}
		requireInOrder(t, stores[0], publisher)
	})

	t.Run("when the publishing relay dies, another takes over", func(t *testing.T) {
		assert.Less(t, outbox.LeaseTTL+outbox.LeaseInterval, 5*time.Second, "which it does within this time")
		store, publisher := memoryStore(t), &testPublisher{}
		createPlatform(t, store, "x")
		held, err := store.AcquireLease(t.Context(), "one that has died", outbox.LeaseTTL)
		require.NoError(t, err)
		require.True(t, held)
		startTestRelay(t, store, publisher)
		publisher.waitAll(t, store)
		requireInOrder(t, store, publisher)
	})

	t.Run("one that has lost its lease stops publishing", func(t *testing.T) {
		for what, lose := range map[string]func(t *testing.T, store platformStore){
			"to another": func(t *testing.T, store platformStore) {
				execSQL(t, store, fmt.Sprintf(`UPDATE relay_lease SET owner = 'another', expires_at = %s + 50000`, sqliteNow), "")
			},
			"because the database is down": func(t *testing.T, store platformStore) {
				_, err := store.(*sqliteStore).writes.Exec(`PRAGMA busy_timeout = 1`)
				require.NoError(t, err)
				conn, err := store.(*sqliteStore).db.Conn(t.Context())
				require.NoError(t, err)
				t.Cleanup(func() { conn.Close() })
				_, err = conn.ExecContext(t.Context(), `BEGIN IMMEDIATE`)
				require.NoError(t, err)
			},
		} {
			t.Run(what, func(t *testing.T) {
				store := fileStores(t, 1)[0]
				publishing, finish := make(chan struct{}), make(chan struct{})
				var calls atomic.Int32
				publisher := &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
					if calls.Add(1) == 1 {
						close(publishing)
						<-finish
					}
					return len(messages), nil
				}}
				createPlatform(t, store, "in the batch in hand")
				log, logged := testkit.CaptureLog()
				relay := startLoggingRelay(t, store, publisher, prometheus.NewRegistry(), log)
				testkit.Receive(t, "a call of Publish", publishing)
				lose(t, store)
				testkit.Eventually(t, "the loss to be noticed", func() bool { return len(logged.Lines("lease lost")) == 1 })
				close(finish)
				testkit.Eventually(t, "the batch in hand to be finished", func() bool { return len(publisher.bodies()) == 1 })
				relay.Wake()
				relay.Stop()
				assert.EqualValues(t, 1, calls.Load(), "nothing is published without the lease")
			})
		}
	})
}

func TestFullQueueOfAnotherSubscriber(t *testing.T) {
	broker := testkit.NewBroker(t)
	require.NoError(t, bus.DeclareExchange(broker.Channel, broker.Exchange))
	const ours, foreign = ".ours", ".foreign"
	for name, arguments := range map[string]amqp.Table{ours: nil,
		foreign: {amqp.QueueMaxLenArg: 1, amqp.QueueOverflowArg: amqp.QueueOverflowRejectPublish}} {
		_, err := broker.Channel.QueueDeclare(broker.Exchange+name, false, false, true, false, arguments)
		require.NoError(t, err)
		require.NoError(t, broker.Channel.QueueBind(broker.Exchange+name, "", broker.Exchange, false, nil))
	}
	store := memoryStore(t)
	const events = outbox.BatchSize + 50
	for n := range events {
		createPlatform(t, store, fmt.Sprint(n))
	}
	log, logged := testkit.CaptureLog()
	publisher := startPublisher(t, broker.URL, broker.Exchange, log)
	waitConnected(t, logged, 1)
	registry := prometheus.NewRegistry()
	startLoggingRelay(t, store, publisher, registry, log)

	failed := func() int { return int(counter(t, registry, "outbox_published_events_total", "failed")) }
	testkit.Eventually(t, "some more attempts", func() bool { return failed() >= outbox.BatchSize+3 }) // the foreign queue got the first event
	attempted := failed()
	leases := len(logged.Lines("lease acquired")) // more than one on a machine that has stalled: each begins with a batch
	assert.Less(t, attempted, leases*(outbox.BatchSize+10), "each sends one event")
	refusals := len(logged.Lines("perhaps another subscriber's, is full"))
	assert.Positive(t, refusals)
	assert.LessOrEqual(t, refusals, len(logged.Lines("lease acquired")), "once, not at each attempt")

	_, err := broker.Channel.QueueDelete(broker.Exchange+foreign, false, false, false)
	require.NoError(t, err)
	testkit.Eventually(t, "all events to be published", func() bool { return len(pending(t, store)) == 0 })
	queue, err := broker.Channel.QueueDeclarePassive(broker.Exchange+ours, false, false, true, false, nil)
	require.NoError(t, err)
	assert.Equal(t, events+failed(), queue.Messages)
	leases = len(logged.Lines("lease acquired"))
	assert.Less(t, queue.Messages, events+leases*(outbox.BatchSize+10), "the events that are there twice")
}

func TestPostDoesNotWaitForTheBus(t *testing.T) {
	store := memoryStore(t)
	publishing, release := make(chan struct{}, 1), make(chan struct{})
	publisher := &testPublisher{publish: func(_ context.Context, messages []bus.Message) (int, error) {
		select {
		case publishing <- struct{}{}:
		default:
		}
		<-release
		return len(messages), nil
	}}
	relay := startTestRelay(t, store, publisher)
	defer close(release)
	log, _ := testkit.CaptureLog()
	url := testkit.Serve(t, (&restAPI{store: store, wake: relay.Wake, slots: web.NewSlots(100), log: log}).handler())
	const body = `{"name":"x","publisher":"p","cost":"1"}`
	require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body).Status)
	testkit.Receive(t, "a call of Publish", publishing)
	require.Equal(t, http.StatusCreated, testkit.Send(t, "POST", url+"/api/platforms", body).Status)
	assert.Empty(t, publisher.bodies())
}

func TestOutboxMetrics(t *testing.T) {
	store := memoryStore(t)
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(outbox.NewCollector(store))
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP outbox_oldest_event_age_seconds Age of the first event that waits; 0 without one.
# TYPE outbox_oldest_event_age_seconds gauge
outbox_oldest_event_age_seconds 0
# HELP outbox_pending_events Events that wait to be published.
# TYPE outbox_pending_events gauge
outbox_pending_events 0
`)))
	createPlatform(t, store, "x")
	createPlatform(t, store, "y")
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP outbox_pending_events Events that wait to be published.
# TYPE outbox_pending_events gauge
outbox_pending_events 2
`), "outbox_pending_events"))

	require.NoError(t, store.close())
	count, err := testutil.GatherAndCount(registry)
	require.NoError(t, err, "the other metrics are still exported while the database is down")
	assert.Zero(t, count)
}

// startLoggingRelay runs a relay until the test ends.
func startLoggingRelay(t *testing.T, store outbox.Store, publisher bus.Publisher, registry prometheus.Registerer, log *slog.Logger) *outbox.Relay {
	t.Helper()
	r := outbox.NewRelay(store, publisher, registry, noop.NewTracerProvider().Tracer(""), log)
	r.Start()
	t.Cleanup(r.Stop)
	return r
}

// counter returns the value of a counter for this value of its one label.
func counter(t testing.TB, registry prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == name && metric.GetLabel()[0].GetValue() == label {
				return metric.GetCounter().GetValue()
			}
		}
	}
	require.FailNow(t, "there is no metric "+name)
	return 0
}

// requireInOrder requires that each platform of store was published once, in
// the order of ids.
func requireInOrder(t *testing.T, store platformStore, publisher *testPublisher) {
	t.Helper()
	platforms, err := allPlatforms(t.Context(), store)
	require.NoError(t, err)
	want := make([]string, len(platforms))
	for i, p := range platforms {
		event, err := newEvent(t.Context(), p)
		require.NoError(t, err)
		want[i] = string(event.Body)
	}
	require.Equal(t, want, publisher.bodies())
}

// metricsText returns outbox_published_events_total with these values.
func metricsText(result string, value int, other string, otherValue int) string {
	values := map[string]int{result: value, other: otherValue}
	text := "# HELP outbox_published_events_total Events sent to the bus, by what became of them. Those that were not confirmed are sent again.\n" +
		"# TYPE outbox_published_events_total counter\n"
	for _, result := range []string{"confirmed", "failed", "returned"} {
		text += fmt.Sprintf("outbox_published_events_total{result=%q} %d\n", result, values[result])
	}
	return text
}
