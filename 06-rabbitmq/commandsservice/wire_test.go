package commandsservice

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestSubscriberOnTheWire reads and writes raw AMQP where no client library can
// tell or do what the test needs.
func TestSubscriberOnTheWire(t *testing.T) {
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

	t.Run("subscribes again when its queue is deleted", func(t *testing.T) {
		broker := newTestBroker(t)
		proxy, url := newBrokerProxy(t, broker.url)
		proxy.restore()
		l := startListener(t, url, broker.exchange)
		receive(t, "a connection", l.connected)

		// Only an operator can delete it. This is what the broker then sends
		// to the consumer: basic.cancel, in a frame of channel 1.
		tag := regexp.MustCompile(`ctag-[!-~]+`).FindString(proxy.recorded())
		require.NotEmpty(t, tag)
		method := "\x00\x3c\x00\x1e" + withLength(tag) + "\x01"
		proxy.say(t, "\x01"+"\x00\x01"+"\x00\x00\x00"+withLength(method)+"\xce")

		assert.Equal(t, 2, receive(t, "another connection", l.connected))
		require.True(t, broker.publish(t, "x"))
		assert.Equal(t, "x", receive(t, "an event", l.bodies))
	})
}

// withLength returns a text of up to 255 bytes as AMQP has it.
func withLength(text string) string { return string([]byte{byte(len(text))}) + text }
