//go:build exercise

package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

const (
	goodEvent = `{"Id":77,"Name":"Docker","Event":"Platform_Published"}`
	badEvent  = `{"Id":-1,"Name":"Docker","Event":"Platform_Published"}`
)

// deadLetters is a CommandsService with a dead-letter queue, and the test's own
// connection to the broker.
type deadLetters struct {
	*system
	queue   string
	channel *amqp.Channel
}

func startWithDeadLetters(t *testing.T, env ...string) *deadLetters {
	t.Helper()
	d := &deadLetters{system: busOnly(t), queue: "e2e-" + t.Name() + ".dead"}
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	d.channel, err = connection.Channel()
	require.NoError(t, err)
	t.Cleanup(func() {
		if cleaning, err := connection.Channel(); err == nil { // the other may be closed
			_, _ = cleaning.QueueDelete(d.queue, false, false, false)
		}
	})
	_, _ = d.channel.QueueDelete(d.queue, false, false, false) // what a run that was cut short has left
	d.commands.env = append(append(d.commands.env, "COMMANDS_DEAD_LETTER_QUEUE="+d.queue), env...)
	d.commands.start(t)
	d.commands.connected(t, 0)
	return d
}

// publish sends the events, one after the other.
func (d *deadLetters) publish(t *testing.T, events ...string) {
	t.Helper()
	for _, body := range events {
		require.NoError(t, d.channel.Publish("e2e-"+t.Name(), "", false, false, amqp.Publishing{Body: []byte(body)}))
	}
}

// get takes the first event from the dead-letter queue. It returns false when
// there is none.
func (d *deadLetters) get(t *testing.T) (body string, found bool) {
	t.Helper()
	event, found, err := d.channel.Get(d.queue, true)
	require.NoError(t, err, "there is no queue that is named as COMMANDS_DEAD_LETTER_QUEUE says")
	return string(event.Body), found
}

// next waits for the next event in the dead-letter queue.
func (d *deadLetters) next(t *testing.T) (body string) {
	t.Helper()
	eventually(t, "an event in the dead-letter queue", func() (found bool) {
		body, found = d.get(t)
		return found
	})
	return body
}

func TestUnusableEventIsKept(t *testing.T) {
	d := startWithDeadLetters(t)
	unusable := []string{"no JSON: \x00\xff", badEvent, `{"Id":4,"Name":"","Event":"Platform_Published"}`}
	d.publish(t, append(unusable, goodEvent)...)
	eventually(t, "the platform of the event behind them", func() bool { return d.knows(77) })
	for _, body := range unusable {
		require.Equal(t, body, d.next(t), "the body is as it came")
	}
}

func TestDeadLettersOutliveCommandsService(t *testing.T) {
	d := startWithDeadLetters(t)
	d.publish(t, badEvent)
	eventually(t, "an event in the dead-letter queue", func() bool {
		state, err := d.channel.QueueDeclarePassive(d.queue, true, false, false, false, nil)
		require.NoError(t, err, "there is no queue that is named as COMMANDS_DEAD_LETTER_QUEUE says")
		return state.Messages == 1
	})
	d.commands.kill()
	require.Equal(t, badEvent, d.next(t))
	// The broker refuses to declare a queue again with other properties, and the
	// refusal names the first one that differs. Here that is to be auto-delete.
	_, err := d.channel.QueueDeclare(d.queue, true, true, false, false, nil)
	require.ErrorContains(t, err, "auto_delete", "the queue must be durable, and neither exclusive nor auto-delete")
}

func TestOnlyUnusableEventsAreKept(t *testing.T) {
	d := startWithDeadLetters(t)
	d.publish(t, `{"Id":1,"Event":"Platform_Renamed"}`, goodEvent, goodEvent, badEvent)
	require.Equal(t, badEvent, d.next(t), "no event of another type, and none that is known already")
	require.True(t, d.knows(77))
}

// TestFailureThatPassesIsNoDeadLetter: a database that is away for a moment is
// not the event's fault. The test takes the table away.
func TestFailureThatPassesIsNoDeadLetter(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands.db")
	d := startWithDeadLetters(t, "COMMANDS_DATABASE_URL=sqlite:"+file)
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=5000")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("ALTER TABLE platforms RENAME TO away")
	require.NoError(t, err)
	d.publish(t, goodEvent)
	// One that is not over after the third attempt: how long it takes is not the event's fault either.
	eventually(t, "four failures in the log", func() bool { return strings.Count(d.commands.logs.String(), "no such table") >= 4 })
	_, err = db.Exec("ALTER TABLE away RENAME TO platforms")
	require.NoError(t, err)
	eventually(t, "the platform: its event is handled again", func() bool { return d.knows(77) })
	_, found := d.get(t)
	require.False(t, found, "an event in the dead-letter queue")
}
