package platformservice

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestBrokerShortOfMemory: a broker that is short of memory announces it, and
// stops reading from publishers. The test writes its frames as AMQP 0-9-1
// defines them: type, channel, size, payload, end.
func TestBrokerShortOfMemory(t *testing.T) {
	t.Run("refuses events while the broker blocks publishers", func(t *testing.T) {
		broker := newTestBroker(t)
		events := listen(t, broker)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		log, logged := captureLog()
		publisher := startPublisher(t, url, broker.exchange, log)
		waitConnected(t, logged, 1)

		// Frames of AMQP 0-9-1: type 1, channel 0, size, connection (10) method, end.
		require.NoError(t, proxy.say("\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x3c\x0alow on ram\xce")) // blocked (60), with the reason
		eventually(t, "the blocking", func() bool { return len(logged.lines(`reason="low on ram"`)) == 1 })
		assert.ErrorIs(t, publisher.publish(t.Context(), []byte("{}")), errNotConnected)
		require.NoError(t, proxy.say("\x01\x00\x00\x00\x00\x00\x04\x00\x0a\x00\x3d\xce")) // unblocked (61)
		eventually(t, "the unblocking", func() bool { return len(logged.lines("unblocks publishers")) == 1 })
		require.NoError(t, publisher.publish(t.Context(), []byte("{}")))
		receive(t, "the event", events)
	})

	t.Run("does not hold up the stop", func(t *testing.T) {
		noGoroutineLeft(t)
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		log, logged := captureLog()
		publisher := startPublisher(t, url, broker.exchange, log)
		waitConnected(t, logged, 1)
		proxy.stall()

		closed := make(chan struct{})
		go func() {
			defer close(closed)
			publisher.close()
		}()
		heartbeats := time.NewTicker(100 * time.Millisecond)
		defer heartbeats.Stop()
		for patient := time.After(patience); ; {
			select {
			case <-closed:
				return
			case <-patient:
				require.FailNow(t, "the publisher does not stop")
			case <-heartbeats.C: // the broker is alive all the time
				_ = proxy.say("\x08\x00\x00\x00\x00\x00\x00\xce") // fails when the connection has just been cut
			}
		}
	})
}
