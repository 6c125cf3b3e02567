package rabbitmq

import (
	"bytes"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestRestartKeepsWhatIsDurable(t *testing.T) {
	if Find() == "" {
		t.Skip("no rabbitmq-server on this machine")
	}
	var progress bytes.Buffer
	n, err := startNode(t.Context(), Find(), Ports{}, &progress)
	if err != nil {
		t.Fatalf("%v\n%s", err, progress.String())
	}
	defer n.Stop()
	quorum := amqp.Table{"x-queue-type": "quorum"}
	channel := open(t, n)
	if err := channel.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for _, queue := range []struct {
		name string
		args amqp.Table
	}{{"classic", nil}, {"quorum", quorum}} {
		if _, err := channel.QueueDeclare(queue.name, true, false, false, false, queue.args); err != nil {
			t.Fatal(err)
		}
		sent, err := channel.PublishWithDeferredConfirmWithContext(t.Context(), "", queue.name, true, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("still here")})
		if err != nil {
			t.Fatal(err)
		}
		if confirmed, err := sent.WaitContext(t.Context()); err != nil || !confirmed {
			t.Fatalf("%s: confirmed: %v, error: %v", queue.name, confirmed, err)
		}
	}
	if n.HasQuorumQueue("quoru") {
		t.Error("the beginning of a name counts as a queue")
	}
	eventually(t, "the quorum queue to be registered on disk", func() bool { return n.HasQuorumQueue("quorum") })
	n.Kill()
	if err := greet(t.Context(), n.address); err == nil {
		t.Fatal("it responds after Kill")
	}
	if err := n.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, queue := range []string{"classic", "quorum"} {
		var message amqp.Delivery
		var found bool
		eventually(t, queue+" to respond", func() bool { // a quorum queue has to elect a leader first
			message, found, err = open(t, n).Get(queue, true)
			return err == nil
		})
		if !found || string(message.Body) != "still here" {
			t.Errorf("%s: found: %v, body: %q", queue, found, message.Body)
		}
	}
}

func open(t *testing.T, n *Node) *amqp.Channel {
	t.Helper()
	connection, err := amqp.Dial(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	channel, err := connection.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return channel
}
