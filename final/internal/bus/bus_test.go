package bus_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/bus"
	"microcomm/final/platformservice"
)

// Both buses have to keep the same contract: what a service may rely on with
// one it may rely on with the other.

func TestMemory(t *testing.T) {
	testBus(t, func(*testing.T) (platformservice.Publisher, commandsservice.Subscriber) {
		memory := &bus.Memory{}
		return memory, memory
	})
}

func TestRabbitMQ(t *testing.T) {
	url := os.Getenv("RABBITMQ_URL")
	if url == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	testBus(t, func(t *testing.T) (platformservice.Publisher, commandsservice.Subscriber) {
		exchange := fmt.Sprintf("bus-%d", time.Now().UnixNano())
		log := slog.New(slog.DiscardHandler)
		publisher := platformservice.NewRabbitMQPublisher(url, exchange, log)
		t.Cleanup(publisher.Close)
		return publisher, commandsservice.NewRabbitMQSubscriber(url, exchange, log)
	})
}

func testBus(t *testing.T, open func(*testing.T) (platformservice.Publisher, commandsservice.Subscriber)) {
	t.Run("every subscriber gets every event in order", func(t *testing.T) {
		publisher, subscriber := open(t)
		first, second := listen(t, subscriber), listen(t, subscriber)
		for n := range 100 {
			publish(t, publisher, fmt.Sprint(n))
		}
		for n := range 100 {
			require.Equal(t, fmt.Sprint(n), first.next(t))
			require.Equal(t, fmt.Sprint(n), second.next(t))
		}
	})

	t.Run("an event that nobody listens to is no error and is not kept", func(t *testing.T) {
		publisher, subscriber := open(t)
		publish(t, publisher, "before")
		listener := listen(t, subscriber)
		publish(t, publisher, "after")
		require.Equal(t, "after", listener.next(t))
	})

	t.Run("one that stops listening does not hold up the others", func(t *testing.T) {
		publisher, subscriber := open(t)
		stays, goes := listen(t, subscriber), listen(t, subscriber)
		goes.stop()
		publish(t, publisher, "x")
		require.Equal(t, "x", stays.next(t))
		require.Empty(t, goes.bodies)
	})

	t.Run("the event in hand is finished before Run returns", func(t *testing.T) {
		publisher, subscriber := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		connected := make(chan struct{})
		started, finish, finished := make(chan struct{}), make(chan struct{}), false
		var run sync.WaitGroup
		run.Go(func() {
			subscriber.Run(ctx, func(ctx context.Context, _ []byte) {
				close(started)
				<-finish
				finished = ctx.Err() == nil
			}, func() { close(connected) })
		})
		wait(t, connected)
		publish(t, publisher, "x")
		wait(t, started)
		cancel()
		close(finish)
		run.Wait()
		require.True(t, finished, "the handler's context outlives that of Run")
	})

	t.Run("the publisher may use the body again", func(t *testing.T) {
		publisher, subscriber := open(t)
		listener := listen(t, subscriber)
		body := []byte("first")
		publishBytes(t, publisher, body)
		copy(body, "XXXXX")
		require.Equal(t, "first", listener.next(t))
	})
}

// listener collects what a subscriber receives.
type listener struct {
	bodies chan string
	stop   func()
}

// listen subscribes, and returns once events would come.
func listen(t *testing.T, subscriber commandsservice.Subscriber) *listener {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &listener{bodies: make(chan string, 1000)}
	connected := make(chan struct{})
	var run sync.WaitGroup
	run.Go(func() {
		subscriber.Run(ctx, func(_ context.Context, body []byte) { l.bodies <- string(body) }, func() { close(connected) })
	})
	l.stop = func() { cancel(); run.Wait() }
	t.Cleanup(l.stop)
	wait(t, connected)
	return l
}

func (l *listener) next(t *testing.T) string {
	t.Helper()
	select {
	case body := <-l.bodies:
		return body
	case <-time.After(30 * time.Second):
		require.FailNow(t, "no event came")
		return ""
	}
}

func publish(t *testing.T, publisher platformservice.Publisher, body string) {
	t.Helper()
	publishBytes(t, publisher, []byte(body))
}

// publishBytes tries until the publisher is connected.
func publishBytes(t *testing.T, publisher platformservice.Publisher, body []byte) {
	t.Helper()
	require.Eventually(t, func() bool { return publisher.Publish(t.Context(), body) == nil },
		30*time.Second, 10*time.Millisecond)
}

func wait(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		require.FailNow(t, "timed out")
	}
}
