package console

import (
	"net/http"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/testkit"
)

// startOverBroker runs both services over RabbitMQ, each sending its spans to a
// console by OTLP. brokerURL is the services' and consoleBroker the console's.
func startOverBroker(t *testing.T, b *testkit.Broker) (w watched, url string, stopConsole func()) {
	t.Helper()
	settings := map[string]string{"RABBITMQ_URL": b.URL, "RABBITMQ_EXCHANGE": b.Exchange, "COMMANDS_QUEUE": b.Exchange,
		"COMMANDS_RETRY_DELAYS": "50ms"}
	b.Declare(t)
	t.Cleanup(func() {
		for _, name := range []string{"", ".dead", ".retry.50ms"} {
			_, err := b.Channel.QueueDelete(b.Exchange+name, false, false, false)
			assert.NoError(t, err)
		}
	})
	listener := listen(t)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+listener.Addr().String()) // the exporter reads it itself
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
	log, _ := testkit.CaptureLog()
	exporter, err := telemetry.ExporterFromEnv(env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + listener.Addr().String()}))
	require.NoError(t, err)
	w = startServices(t, nil, nil, settings, func(name string) *sdktrace.TracerProvider {
		provider, stop, err := exporter.Start(t.Context(), name, "1", log)
		require.NoError(t, err)
		t.Cleanup(stop)
		return provider.(*sdktrace.TracerProvider)
	})
	settings["PLATFORMS_URL"], settings["COMMANDS_URL"] = w.platforms, w.commands
	url, stopConsole = startConsole(t, settings, Parts{HTTPListener: listener})
	return w, url, stopConsole
}

// listening is the line after which the console sees every event.
func listening(l received) bool { return l.Subject == "queue/console" && l.Content.Consumers == 1 }

func TestOnePostOverRabbitMQIsTheSameStory(t *testing.T) {
	b := testkit.NewBroker(t)
	w, url, _ := startOverBroker(t, b)
	feed := read(t, url, "")
	feed.until("the console to listen", listening)
	require.Equal(t, http.StatusCreated, create(t, w.platforms, "Docker").Status)
	lines := feed.until("the POST's span", func(l received) bool { return l.Content.Hop == "accepted" && l.Content.From == "span" })
	message := lines[len(lines)-1].Content.Message
	for _, hop := range []string{"accepted", "outbox", "relay", "confirmed", "published", "delivered", "stored", "acknowledged"} {
		// They arrive in the order of the exporters: what comes before the response tells the message alone.
		lines := read(t, url, "").until("the hop "+hop, func(l received) bool { return l.Content.Hop == hop && l.Content.Message == message })
		assert.Contains(t, []string{"platform/1", "message/" + message}, lines[len(lines)-1].Subject, hop)
	}
}

func TestPoisonIsSeenToBecomeADeadLetter(t *testing.T) {
	b := testkit.NewBroker(t)
	_, url, _ := startOverBroker(t, b)
	feed := read(t, url, "")
	feed.until("the console to listen", listening)
	require.NoError(t, b.Channel.Publish(b.Exchange, "", false, false, amqp.Publishing{MessageId: "poison-1", Body: []byte("not JSON")}))

	published := read(t, url, "").until("the event", func(l received) bool { return l.Content.Hop == "published" })
	assert.Equal(t, "message/poison-1", published[len(published)-1].Subject)
	assert.Equal(t, "the body is not JSON", published[len(published)-1].Content.Reason)
	dead := read(t, url, "").until("the dead letter", func(l received) bool { return l.Content.Hop == "dead_lettered" })
	assert.Equal(t, "message/poison-1", dead[len(dead)-1].Subject)
	assert.Equal(t, 1, dead[len(dead)-1].Content.Attempt)
	assert.Contains(t, dead[len(dead)-1].Content.Reason, "unusable message")
	feed.until("the depth of the dead letters", func(l received) bool {
		return l.Subject == "queue/"+b.Exchange+".dead" && l.Content.Depth == 1 && l.Content.Role == "dead"
	})
}

// Without a subscriber's queue a publisher learns that no queue takes its event. The
// console's own queue must not hide that.
func TestConsoleListensOnlyBesideASubscriber(t *testing.T) {
	b := testkit.NewBroker(t)
	b.Declare(t)
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": b.URL, "RABBITMQ_EXCHANGE": b.Exchange, "COMMANDS_QUEUE": b.Exchange}, Parts{})
	feed := read(t, url, "")
	feed.part("exchange", up)
	assert.False(t, b.Publish(t, "{}"), "no queue has it")

	for _, name := range []string{b.Exchange, b.Exchange + ".dead"} { // once the second is seen, the first has been looked at
		_, err := b.Channel.QueueDeclare(name, true, false, false, false, amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
		require.NoError(t, err)
		feed.until("the queue "+name, func(l received) bool { return l.Subject == "queue/"+name })
	}
	assert.False(t, b.Publish(t, "{}"), "the queue exists, and is not bound yet")

	require.NoError(t, b.Channel.QueueBind(b.Exchange, "", b.Exchange, false, nil))
	assert.True(t, b.Publish(t, "{}"))
	feed.until("the console to listen", listening)
	for _, name := range []string{b.Exchange, b.Exchange + ".dead"} {
		_, err := b.Channel.QueueDelete(name, false, false, false)
		require.NoError(t, err)
	}
	eventually(t, "no queue has it again", func() bool { return !b.Publish(t, "{}") })
}

func TestBrokerIsSeenDownAndUp(t *testing.T) {
	b := testkit.NewBroker(t)
	b.Declare(t)
	proxy, brokerURL := testkit.NewBrokerProxy(t, b.URL)
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": brokerURL, "RABBITMQ_EXCHANGE": b.Exchange, "COMMANDS_QUEUE": b.Exchange}, Parts{})
	feed := read(t, url, "")
	feed.part("broker", down)
	proxy.Restore()
	feed.part("broker", up)
	proxy.Cut()
	feed.part("broker", down)
	proxy.Restore()
	feed.part("broker", up)
	proxy.Stall()
	feed.until("the broker not to respond", func(l received) bool {
		return l.Subject == "part/broker" && l.Content.State == down && strings.Contains(l.Content.Detail, "does not respond")
	})
}
