//go:build exercise

package e2e

import (
	"fmt"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// topicSystem returns a running system with a topic exchange, and a channel of
// the test's own. The exchanges are named "e2e-" + t.Name(), and the same with
// "-topic" behind it.
func topicSystem(t *testing.T) (s *system, channel *amqp.Channel, fanout, topic string) {
	t.Helper()
	fanout = "e2e-" + t.Name()
	topic = fanout + "-topic"
	s = busOnly(t)
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, channel.ExchangeDelete(topic, false, false)) // what an earlier run has left
	t.Cleanup(func() {
		if cleaning, err := connection.Channel(); err == nil { // the other may be closed
			_ = cleaning.ExchangeDelete(topic, false, false)
		}
	})
	for _, service := range []*service{s.commands, s.platforms} {
		service.env = append(service.env, "RABBITMQ_TOPIC_EXCHANGE="+topic)
		service.start(t)
		service.connected(t, 0)
	}
	require.NoError(t, channel.Confirm(false))
	require.NoError(t, channel.ExchangeDeclarePassive(topic, amqp.ExchangeTopic, true, false, false, false, nil),
		"there is no exchange that is named as RABBITMQ_TOPIC_EXCHANGE says")
	return s, channel, fanout, topic
}

func TestTopicExchange(t *testing.T) {
	_, channel, _, topic := topicSystem(t)
	// The broker refuses to declare an exchange again with other properties, and
	// the refusal names the first one that differs. Here that is to be auto-delete.
	err := channel.ExchangeDeclare(topic, amqp.ExchangeTopic, true, true, false, false, nil)
	require.ErrorContains(t, err, "auto_delete", "the exchange must be of the kind topic, durable and not auto-delete")
}

func TestEventHasARoutingKey(t *testing.T) {
	s, channel, fanout, topic := topicSystem(t)
	var copies []<-chan amqp.Delivery
	for _, exchange := range []string{fanout, topic} {
		queue, err := channel.QueueDeclare("", false, true, true, false, nil)
		require.NoError(t, err)
		require.NoError(t, channel.QueueBind(queue.Name, "#", exchange, false, nil)) // everything
		events, err := channel.Consume(queue.Name, "", true, true, false, false, nil)
		require.NoError(t, err)
		copies = append(copies, events)
	}
	created := createPlatform(t, s, "Docker")
	body := fmt.Sprintf(`{"Id":%d,"Name":"Docker","Event":"Platform_Published"}`, created.ID)

	event := receiveEvent(t, "the event on the fanout exchange, as before", copies[0])
	require.Equal(t, body, string(event.Body))
	require.Empty(t, event.RoutingKey)
	event = receiveEvent(t, "the event on the topic exchange", copies[1])
	require.Equal(t, body, string(event.Body))
	require.Equal(t, "platform.published", event.RoutingKey)
	eventually(t, "the platform in CommandsService", func() bool { return s.knows(created.ID) })
}

func TestSubscriberBindsWhatItWants(t *testing.T) {
	s, channel, fanout, topic := topicSystem(t)
	for _, key := range []string{"platform.deleted", "command.published", "platform.published.draft", "command.created", "published", ""} {
		require.False(t, taken(t, channel, topic, key), "CommandsService must not get events of the routing key %q", key)
	}
	require.False(t, taken(t, channel, fanout, ""), "CommandsService would get every event twice: from both exchanges")
	require.True(t, taken(t, channel, topic, "platform.published"), "CommandsService must get events of the routing key platform.published")
	eventually(t, "the platform in CommandsService", func() bool { return s.knows(77) })
}

// receiveEvent waits for an event.
func receiveEvent(t *testing.T, what string, from <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case event := <-from:
		return event
	case <-time.After(patience):
		require.FailNow(t, "timed out waiting for: "+what)
		return amqp.Delivery{}
	}
}

// taken publishes an event and returns whether any queue took it: the broker
// returns a mandatory message that none takes, and does so before it confirms.
func taken(t *testing.T, channel *amqp.Channel, exchange, key string) bool {
	t.Helper()
	returned := channel.NotifyReturn(make(chan amqp.Return, 100))
	const mandatory = true
	confirmation, err := channel.PublishWithDeferredConfirm(exchange, key, mandatory, false,
		amqp.Publishing{Body: []byte(`{"Id":77,"Name":"Docker","Event":"Platform_Published"}`)})
	require.NoError(t, err)
	select {
	case <-confirmation.Done():
	case <-time.After(patience):
		require.FailNow(t, "timed out waiting for the broker's confirmation")
	}
	return len(returned) == 0
}
