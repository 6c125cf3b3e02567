//go:build exercise

package e2e

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// durableQueue returns a system whose CommandsService has a queue of this name,
// and a channel to look at the broker with.
func durableQueue(t *testing.T, env ...string) (s *system, queue string, channel *amqp.Channel) {
	t.Helper()
	queue = "e2e-" + t.Name() + "-queue"
	s = busOnly(t)
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	channel, err = connection.Channel()
	require.NoError(t, err)
	t.Cleanup(func() {
		if cleaning, err := connection.Channel(); err == nil { // the other may be closed
			_, _ = cleaning.QueueDelete(queue, false, false, false)
		}
	})
	_, _ = channel.QueueDelete(queue, false, false, false) // what a run that was cut short has left
	s.commands.env = append(append(s.commands.env, "COMMANDS_QUEUE="+queue), env...)
	s.commands.start(t)
	s.platforms.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)
	return s, queue, channel
}

// waiting returns how many events wait in the queue for a consumer.
func waiting(t *testing.T, channel *amqp.Channel, queue string) int {
	t.Helper()
	state, err := channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err, "there is no queue that is named as COMMANDS_QUEUE says (or it has gone with its consumer)")
	return state.Messages
}

// left returns how many events wait in the queue once the broker has noticed that
// its consumer has gone, and taken back what that had not acknowledged.
func left(t *testing.T, channel *amqp.Channel, queue string) int {
	t.Helper()
	var state amqp.Queue
	eventually(t, "a queue without a consumer", func() (gone bool) {
		var err error
		state, err = channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		require.NoError(t, err)
		return state.Consumers == 0
	})
	return state.Messages
}

func TestQueueIsDurable(t *testing.T) {
	_, queue, channel := durableQueue(t)
	waiting(t, channel, queue)
	// The broker refuses to declare a queue again with other properties, and the
	// refusal names the first one that differs. Here that is to be auto-delete.
	_, err := channel.QueueDeclare(queue, true, true, false, false, nil)
	require.ErrorContains(t, err, "auto_delete", "the queue must be durable, and neither exclusive nor auto-delete")
}

func TestEventsWaitForCommandsService(t *testing.T) {
	s, queue, channel := durableQueue(t)
	s.commands.kill()
	var created []platform
	for _, name := range []string{"Docker", "Go", "Podman"} {
		created = append(created, createPlatform(t, s, name))
	}
	eventually(t, "three events in the queue of the CommandsService that is away", func() bool {
		return waiting(t, channel, queue) == 3
	})
	s.commands.start(t)
	for _, p := range created {
		eventually(t, p.Name+", created while CommandsService was away", func() bool { return s.knows(p.ID) })
	}
	eventually(t, "an empty queue", func() bool { return waiting(t, channel, queue) == 0 })
}

// TestEventOutlivesACrash kills CommandsService after it was given an event, and
// before it could store it: the test has the database locked.
func TestEventOutlivesACrash(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands.db")
	s, queue, channel := durableQueue(t, "COMMANDS_DATABASE_URL=sqlite:"+file)
	unlock := lockDatabase(t, file)
	publish(t, channel)
	eventually(t, "CommandsService has the event", func() bool { return waiting(t, channel, queue) == 0 })
	s.commands.kill()
	unlock()
	s.commands.start(t)
	eventually(t, "the platform: its event was not stored before the crash, so it must come again", func() bool {
		return s.knows(77)
	})
}

// TestRefusedEventComesAgain: the database refuses the event at first, because the
// test has taken the table away.
func TestRefusedEventComesAgain(t *testing.T) {
	file := filepath.Join(t.TempDir(), "commands.db")
	s, queue, channel := durableQueue(t, "COMMANDS_DATABASE_URL=sqlite:"+file)
	waiting(t, channel, queue)
	db, err := sql.Open("sqlite3", "file:"+file+"?_busy_timeout=5000")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("ALTER TABLE platforms RENAME TO away")
	require.NoError(t, err)
	publish(t, channel)
	eventually(t, "the error of the database (no such table), four times, in the log of CommandsService", func() bool {
		return strings.Count(s.commands.logs.String(), "no such table") >= 4 // it comes again until it is stored
	})
	_, err = db.Exec("ALTER TABLE away RENAME TO platforms")
	require.NoError(t, err)
	eventually(t, "the platform: the database refused its event, so it must come again", func() bool {
		return s.knows(77)
	})
}

func TestStoredEventDoesNotComeAgain(t *testing.T) {
	s, queue, channel := durableQueue(t)
	created := createPlatform(t, s, "Docker")
	eventually(t, "the platform", func() bool { return s.knows(created.ID) })
	require.NoError(t, s.commands.stop(t)) // whatever is not acknowledged returns to the queue
	require.Zero(t, left(t, channel, queue), "events that were handled and not acknowledged")
}

// An event that makes no sense, or is of another type, will do so again: it is
// dropped, as before, and does not come between the next one and its turn.
func TestUnusableEventHoldsUpNoOther(t *testing.T) {
	s, queue, channel := durableQueue(t)
	waiting(t, channel, queue)
	for _, body := range []string{"no JSON", `{"Id":-1,"Name":"Docker","Event":"Platform_Published"}`, `{"Id":1,"Name":"Docker","Event":"Platform_Renamed"}`} {
		require.NoError(t, channel.Publish("e2e-"+t.Name(), "", false, false, amqp.Publishing{Body: []byte(body)}))
	}
	publish(t, channel)
	eventually(t, "the platform of the event behind those that make no sense", func() bool { return s.knows(77) })
	require.NoError(t, s.commands.stop(t))
	require.Zero(t, left(t, channel, queue), "events that were dropped and not acknowledged")
}

func TestEventsArePersistent(t *testing.T) {
	s, _, channel := durableQueue(t)
	own, err := channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, channel.QueueBind(own.Name, "", "e2e-"+t.Name(), false, nil))
	events, err := channel.Consume(own.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	createPlatform(t, s, "Docker")
	select {
	case event := <-events:
		require.Equal(t, amqp.Persistent, event.DeliveryMode, "else a broker that restarts has the queue, without its events")
	case <-time.After(patience):
		require.FailNow(t, "timed out waiting for the event")
	}
}

// publish sends the event of platform 77, and waits until the broker has it.
func publish(t *testing.T, channel *amqp.Channel) {
	t.Helper()
	require.NoError(t, channel.Confirm(false))
	confirmation, err := channel.PublishWithDeferredConfirm("e2e-"+t.Name(), "", false, false,
		amqp.Publishing{Body: []byte(`{"Id":77,"Name":"Docker","Event":"Platform_Published"}`)})
	require.NoError(t, err)
	require.True(t, confirmation.Wait(), "the broker has the event")
}

// lockDatabase keeps everybody else from writing to the database until unlock.
func lockDatabase(t *testing.T, file string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+file+"?_txlock=immediate&_busy_timeout=5000")
	require.NoError(t, err)
	t.Cleanup(func() { db.Close() })
	tx, err := db.Begin()
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback()) }
}
