package console

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

// testFaults breaks the parts of a system with a real broker, one after the other, and
// holds the page to what happens: what is created meanwhile waits, by name, and is stored
// once the part is up again.
func (b *browser) testFaults(t *testing.T) {
	broker := testkit.NewBroker(t)
	broker.Declare(t)
	toBroker, brokerURL := testkit.NewBrokerProxy(t, broker.URL)
	toBroker.Restore()
	whole := broker.URL
	broker.URL = brokerURL
	w, url, _ := startOverBroker(t, broker)
	broker.URL = whole
	p := b.open(t, url, 1280, 900)
	create := func(name string) {
		t.Helper()
		p.fill("[name=name]", name)
		p.click(createButton)
		p.shows(".mc-doing .mc-answer", name+" has id")
	}
	stored := func(name string) {
		t.Helper()
		p.shows(".mc-column.mc-k-stored", name)
		p.shows(".mc-k-missing b", "0")
		p.holds("nothing is down", `!document.querySelector('.mc-is-down')`)
	}
	create("Docker")
	stored("Docker")
	p.shows(".mc-n-queue", "1 consumer")

	toBroker.Cut()
	p.shows(".mc-n-broker.mc-is-down .mc-badge", "down")
	create("Redis")
	p.shows(".mc-story", "Redis waits in the outbox")
	p.shows(".mc-n-outbox.mc-waiting", "1")
	toBroker.Restore()
	stored("Redis")
	p.shows(".mc-n-console", "listening too")

	require.NoError(t, broker.Channel.Publish(broker.Exchange, "", false, false, amqp.Publishing{MessageId: "poison-1", Body: []byte("not JSON")}))
	p.shows(journeyRows, "published: the body is not JSON")
	p.shows(journeyRows, "dead letter: ")
	p.shows(".mc-n-dead-letters.mc-letters", "1")
	p.shows(".mc-column.mc-k-dead", "unknown message")

	w.stopCommands()
	p.shows(".mc-n-commandsservice.mc-is-down .mc-badge", "down")
	create("Grafana")
	p.shows(".mc-story", "Grafana waits in the queue")
	p.shows(".mc-n-queue.mc-waiting", "1")
	p.shows(".mc-n-queue", "no consumer")

	w.stopPlatforms()
	p.shows(".mc-n-platformservice.mc-is-down .mc-badge", "down")
	p.fill("[name=name]", "Unheard")
	p.click(createButton)
	p.holds("the failure is said", `document.querySelector('.mc-doing .mc-answer.mc-bad')?.textContent`)
	require.NotContains(t, p.text(".mc-ledger"), "Unheard")
}
