package bus_test

import (
	"context"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

func TestResend(t *testing.T) {
	t.Run("keeps the body, the properties and the trace context", func(t *testing.T) {
		now := time.Unix(1_700_000_000, 0)
		sent := bus.Resend(amqp.Delivery{
			ContentType: "application/json", ContentEncoding: "identity", Priority: 3, CorrelationId: "c", ReplyTo: "r", Expiration: "1",
			MessageId: "m", Timestamp: now, Type: "t", UserId: "u", AppId: "a", Body: []byte("body"),
			Headers: amqp.Table{"traceparent": "00-x", "tracestate": "a=b", bus.AttemptsHeader: int32(2), bus.ErrorHeader: "e"},
		}, amqp.Table{bus.AttemptsHeader: int32(3)})
		assert.Equal(t, amqp.Publishing{
			ContentType: "application/json", ContentEncoding: "identity", DeliveryMode: amqp.Persistent, Priority: 3, CorrelationId: "c",
			ReplyTo: "r", MessageId: "m", Timestamp: now, Type: "t", AppId: "a", Body: []byte("body"),
			Headers: amqp.Table{"traceparent": "00-x", "tracestate": "a=b", bus.AttemptsHeader: int32(3)},
		}, sent)
	})

	for name, value := range map[string]any{
		"CC": []any{"commands.platforms"}, "BCC": []any{"commands.platforms"}, "cc": []any{"x"}, "Bcc": "commands.platforms",
		"x-delay": int32(1), "x-cc": []any{"x"}, "tenant": "blue", "x-match": "all",
	} {
		t.Run("quotes the header "+name+" instead of repeating it", func(t *testing.T) {
			sent := bus.Resend(amqp.Delivery{Headers: amqp.Table{name: value, "traceparent": "00-x"}}, nil)
			require.ElementsMatch(t, []string{"traceparent", bus.HeadersHeader}, names(sent.Headers))
			assert.Contains(t, sent.Headers[bus.HeadersHeader], name)
			again := bus.Resend(amqp.Delivery{Headers: sent.Headers}, nil)
			assert.Equal(t, sent.Headers, again.Headers, "as often as it is sent")
		})
	}

	t.Run("forgets what the broker wrote", func(t *testing.T) {
		sent := bus.Resend(amqp.Delivery{Headers: amqp.Table{"x-death": []any{amqp.Table{"count": int64(5)}}, "x-first-death-queue": "q",
			"x-last-death-reason": "expired", "x-delivery-count": int64(7)}}, nil)
		assert.Empty(t, sent.Headers)
	})

	t.Run("a header that is kept is a text of a bounded size", func(t *testing.T) {
		for _, value := range []any{[]any{"00-x"}, strings.Repeat("x", 100_000), int64(1), []byte("x"), nil} {
			sent := bus.Resend(amqp.Delivery{Headers: amqp.Table{"traceparent": value, "tracestate": value, bus.HeadersHeader: value}}, nil)
			assert.Equal(t, []string{bus.HeadersHeader}, names(sent.Headers))
			assert.Less(t, size(sent.Headers), 20_000)
		}
	})
}

// FuzzResend: whatever its headers, a message can be sent again, and no header
// but those that are known to be harmless goes with it.
func FuzzResend(f *testing.F) {
	for kind := range uint8(12) {
		f.Add("traceparent", kind, "00-x", int64(1))
		f.Add("CC", kind, "commands.platforms", int64(math.MaxInt64))
		f.Add(bus.HeadersHeader, kind, strings.Repeat("é", maxShort), int64(-1))
	}
	f.Fuzz(func(t *testing.T, name string, kind uint8, text string, number int64) {
		short := strings.ToValidUTF8(text[:min(len(text), maxShort)], "")
		d := amqp.Delivery{Headers: amqp.Table{name: headerOf(kind, text, number), text: int32(1)}, MessageId: short, Type: short, Body: []byte(text)}
		for range 3 { // it may fail again
			sent := bus.Resend(d, amqp.Table{bus.ErrorHeader: "e", bus.AttemptsHeader: int32(1)})
			require.NoError(t, sent.Headers.Validate())
			require.Subset(t, []string{"traceparent", "tracestate", bus.HeadersHeader, bus.ErrorHeader, bus.AttemptsHeader}, names(sent.Headers))
			require.Less(t, size(sent.Headers), 30_000, "they fit into a frame")
			require.Equal(t, []any{d.MessageId, d.Type, d.Body}, []any{sent.MessageId, sent.Type, sent.Body})
			d.Headers = sent.Headers
		}
	})
}

// maxShort is the size of the longest name and of the longest property but the headers.
const maxShort = 255

// headerOf returns a header of any kind.
func headerOf(kind uint8, text string, number int64) any {
	kinds := []any{nil, number%2 == 0, byte(number), int8(number), int16(number), int32(number), number, float32(number), math.Float64frombits(uint64(number)),
		text, []byte(text), time.Unix(number, 0), amqp.Decimal{Scale: byte(number), Value: int32(number)}}
	if value := int(kind) % (len(kinds) + 2); value < len(kinds) {
		return kinds[value]
	} else if value == len(kinds) {
		return []any{text, amqp.Table{text: number}}
	}
	return amqp.Table{text: []any{number}}
}

func TestSender(t *testing.T) {
	open := func(t *testing.T) (*amqp.Connection, *amqp.Channel, string) {
		t.Helper()
		url := os.Getenv("RABBITMQ_URL")
		if url == "" {
			t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
		}
		connection, err := bus.Dial(context.Background(), url, tlsconfig.Files{}, bus.BrokerTimeout)
		require.NoError(t, err)
		t.Cleanup(func() { bus.Close(connection) })
		channel, err := connection.Channel()
		require.NoError(t, err)
		queue, err := channel.QueueDeclare("", false, true, true, false, nil)
		require.NoError(t, err)
		return connection, channel, queue.Name
	}

	t.Run("returns once the broker has the message", func(t *testing.T) {
		connection, channel, queue := open(t)
		sender, err := bus.NewSender(connection)
		require.NoError(t, err)
		wait, err := sender.Send(queue, amqp.Publishing{Body: []byte("x")})
		require.NoError(t, err)
		require.NoError(t, wait(t.Context()))
		d, ok, err := channel.Get(queue, true)
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, "x", string(d.Body))
	})

	t.Run("no copy reaches a queue that the original names", func(t *testing.T) {
		connection, channel, queue := open(t)
		other, err := channel.QueueDeclare("", false, true, true, false, nil)
		require.NoError(t, err)
		sender, err := bus.NewSender(connection)
		require.NoError(t, err)
		original := amqp.Delivery{Headers: amqp.Table{"CC": []any{other.Name}, "BCC": []any{other.Name}}}
		wait, err := sender.Send(queue, bus.Resend(original, nil))
		require.NoError(t, err)
		require.NoError(t, wait(t.Context()))
		_, ok, err := channel.Get(other.Name, true)
		require.NoError(t, err)
		assert.False(t, ok)
	})

	t.Run("names a queue that does not exist", func(t *testing.T) {
		connection, _, queue := open(t)
		sender, err := bus.NewSender(connection)
		require.NoError(t, err)
		missing, err := sender.Send("missing-queue", amqp.Publishing{})
		require.NoError(t, err)
		there, err := sender.Send(queue, amqp.Publishing{})
		require.NoError(t, err)
		require.EqualError(t, missing(t.Context()), "publish to queue missing-queue: there is no queue missing-queue")
		require.NoError(t, there(t.Context()))
	})

	t.Run("says that the connection was lost, and nothing of queues", func(t *testing.T) {
		connection, _, queue := open(t)
		sender, err := bus.NewSender(connection)
		require.NoError(t, err)
		wait, err := sender.Send("missing-queue", amqp.Publishing{})
		require.NoError(t, err)
		require.Error(t, wait(t.Context()))
		bus.Close(connection)
		_, err = sender.Send(queue, amqp.Publishing{})
		require.ErrorContains(t, err, "connection closed")
		assert.NotContains(t, err.Error(), "no queue")
	})
}

func names(table amqp.Table) []string {
	var all []string
	for name := range table {
		all = append(all, name)
	}
	return all
}

// size returns about how many bytes of a frame these headers take.
func size(table amqp.Table) int {
	n := 0
	for name, value := range table {
		text, _ := value.(string)
		n += len(name) + len(text) + 9
	}
	return n
}
