//go:build exercise

package e2e

import (
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// deletion is a system whose databases are files, and the test's own connection
// to the broker.
type deletion struct {
	*system
	file     string // PlatformService's database
	channel  *amqp.Channel
	exchange string
}

func newDeletion(t *testing.T) *deletion {
	t.Helper()
	dir, exchange := t.TempDir(), "e2e-"+rand.Text()
	t.Cleanup(func() { deleteFromBroker(t, exchange) }) // as the folder, after the services have ended
	d := &deletion{system: busOnly(t), file: filepath.Join(dir, "platforms.db"), exchange: exchange}
	for _, s := range []*service{d.platforms, d.commands} {
		s.env = append(s.env, "RABBITMQ_EXCHANGE="+exchange, "COMMANDS_QUEUE="+exchange,
			"DATABASE_URL=sqlite:"+d.file,
			"COMMANDS_DATABASE_URL=sqlite:"+filepath.Join(dir, "commands.db"))
	}
	connection, err := amqp.Dial(os.Getenv("RABBITMQ_URL"))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	d.channel, err = connection.Channel()
	require.NoError(t, err)
	return d
}

// start starts both services, and waits until they are connected.
func (d *deletion) start(t *testing.T) {
	t.Helper()
	d.commands.start(t)
	d.platforms.start(t)
	d.commands.connected(t, 0)
	d.platforms.connected(t, 0)
}

// remove deletes a platform at PlatformService.
func (d *deletion) remove(t *testing.T, id int32) {
	t.Helper()
	d.platforms.call(t, http.MethodDelete, fmt.Sprintf("/api/platforms/%d", id), "", http.StatusNoContent, nil)
}

// waitKnown waits until CommandsService knows this platform, or does not.
func (d *deletion) waitKnown(t *testing.T, id int32, known bool) {
	t.Helper()
	eventually(t, fmt.Sprintf("CommandsService knows platform %d: %v", id, known), func() bool {
		status, _, err := d.commands.send(http.MethodGet, fmt.Sprintf("/api/c/platforms/%d/commands", id), "")
		return err == nil && (status == http.StatusOK) == known
	})
}

// event is what the test needs of an event.
type event struct {
	ID      int32 `json:"Id"`
	Event   string
	message amqp.Delivery
}

// events returns a function that returns the next event published from now on.
// The exchange must exist.
func (d *deletion) events(t *testing.T) func() event {
	t.Helper()
	queue, err := d.channel.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, d.channel.QueueBind(queue.Name, "", d.exchange, false, nil))
	messages, err := d.channel.Consume(queue.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	return func() event {
		select {
		case m := <-messages:
			e := event{message: m}
			require.NoError(t, json.Unmarshal(m.Body, &e), string(m.Body))
			return e
		case <-time.After(patience):
			require.FailNow(t, "timed out waiting for an event")
			return event{}
		}
	}
}

func TestDeleteReachesCommandsService(t *testing.T) {
	d := newDeletion(t)
	d.start(t)
	kept, gone := createPlatform(t, d.system, "Kept"), createPlatform(t, d.system, "Gone")
	for _, id := range []int32{kept.ID, gone.ID} {
		d.waitKnown(t, id, true)
		d.commands.call(t, http.MethodPost, fmt.Sprintf("/api/c/platforms/%d/commands", id),
			`{"howTo": "Build", "commandLine": "make"}`, http.StatusCreated, nil)
	}
	d.remove(t, gone.ID)
	path := fmt.Sprintf("/api/platforms/%d", gone.ID)
	d.platforms.call(t, http.MethodGet, path, "", http.StatusNotFound, nil)
	d.platforms.call(t, http.MethodDelete, path, "", http.StatusNotFound, nil)
	d.waitKnown(t, gone.ID, false)

	var commands []command
	d.commands.call(t, http.MethodGet, fmt.Sprintf("/api/c/platforms/%d/commands", kept.ID), "", http.StatusOK, &commands)
	require.Len(t, commands, 1, "those of the other platform stay")
}

func TestDeleteWaitsInTheOutbox(t *testing.T) {
	d := newDeletion(t)
	d.start(t) // declares the exchange and the queue
	next := d.events(t)
	d.platforms.kill()
	broker := d.platforms.env
	d.platforms.env = append(broker[:len(broker):len(broker)], "RABBITMQ_URL=amqp://127.0.0.1:1/") // nothing listens there
	d.platforms.start(t)
	created := createPlatform(t, d.system, "Docker")
	d.remove(t, created.ID)
	d.platforms.kill()

	d.platforms.env = broker
	d.platforms.start(t)
	seen := map[string]event{}
	for seen["Platform_Deleted"].ID != created.ID { // the seeded platforms' events may come first
		e := next()
		if e.ID == created.ID {
			require.Empty(t, seen["Platform_Deleted"].Event, "no event of the platform is published after that of its deletion")
			seen[e.Event] = e
		}
	}
	require.Contains(t, seen, "Platform_Published", "it is published first")
	deleted := seen["Platform_Deleted"].message
	require.Equal(t, "Platform_Deleted", deleted.Type)
	require.Equal(t, amqp.Persistent, deleted.DeliveryMode)
	require.NotEmpty(t, deleted.MessageId)
	require.NotEqual(t, seen["Platform_Published"].message.MessageId, deleted.MessageId)
	d.waitKnown(t, created.ID, false)
}

// TestTheDeletionAndItsEventAreOne: when the event cannot be stored, because the
// test has renamed the outbox, the platform is not deleted either.
func TestTheDeletionAndItsEventAreOne(t *testing.T) {
	d := newDeletion(t)
	d.start(t)
	p := createPlatform(t, d.system, "Docker")
	d.waitKnown(t, p.ID, true)
	db, err := sql.Open("sqlite3", "file:"+d.file+"?_busy_timeout=60000")
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec("ALTER TABLE outbox RENAME TO hidden")
	require.NoError(t, err)
	path := fmt.Sprintf("/api/platforms/%d", p.ID)
	status, _, err := d.platforms.send(http.MethodDelete, path, "")
	require.NoError(t, err)
	require.NotEqual(t, http.StatusNoContent, status, "a deletion whose event cannot be stored")
	_, err = db.Exec("ALTER TABLE hidden RENAME TO outbox")
	require.NoError(t, err)
	d.platforms.call(t, http.MethodGet, path, "", http.StatusOK, nil) // otherwise no service would ever learn of the deletion
	eventually(t, "the platform is deleted, now that its event can be stored", func() bool {
		status, _, err := d.platforms.send(http.MethodDelete, path, "")
		return err == nil && status == http.StatusNoContent
	})
	d.waitKnown(t, p.ID, false)
}

// TestDeletedPlatformStaysDeleted: an event that is redelivered, a late call and a
// backfill know nothing of the deletion.
func TestDeletedPlatformStaysDeleted(t *testing.T) {
	d := newDeletion(t)
	d.start(t)
	gone := createPlatform(t, d.system, "Gone")
	d.waitKnown(t, gone.ID, true)
	d.remove(t, gone.ID)
	d.waitKnown(t, gone.ID, false)

	published := `{"Id":%d,"Name":"Gone","Event":"Platform_Published"}`
	for _, id := range []int32{gone.ID, 1000} { // the second shows that the first was handled
		require.NoError(t, d.channel.Publish(d.exchange, "", false, false, amqp.Publishing{
			MessageId: fmt.Sprint("late-", id), Body: fmt.Appendf(nil, published, id)}))
	}
	d.waitKnown(t, 1000, true)
	d.waitKnown(t, gone.ID, false)

	// A deletion may come first: the creation is retried, or was a dead letter.
	for _, body := range []string{`{"Id":2000,"Event":"Platform_Deleted"}`, fmt.Sprintf(published, 2000), fmt.Sprintf(published, 1001)} {
		require.NoError(t, d.channel.Publish(d.exchange, "", false, false, amqp.Publishing{MessageId: body, Body: []byte(body)}))
	}
	d.waitKnown(t, 1001, true)
	d.waitKnown(t, 2000, false)

	_, _, err := d.commands.send(http.MethodPost, "/api/c/platforms", fmt.Sprintf(`{"id": %d, "name": "Gone"}`, gone.ID))
	require.NoError(t, err) // whatever the response
	d.waitKnown(t, gone.ID, false)

	d.commands.kill()
	last := createPlatform(t, d.system, "Last") // by backfill or event
	d.commands.start(t)
	d.waitKnown(t, last.ID, true)
	d.waitKnown(t, gone.ID, false)
}

func TestDeletedWhileCommandsServiceIsDown(t *testing.T) {
	d := newDeletion(t)
	d.start(t)
	before := createPlatform(t, d.system, "Known before")
	d.waitKnown(t, before.ID, true)
	d.commands.kill()
	d.remove(t, before.ID)
	var gone, kept []int32
	for i := range 20 {
		p := createPlatform(t, d.system, fmt.Sprint("Platform ", i))
		if i%2 == 0 {
			d.remove(t, p.ID)
			gone = append(gone, p.ID)
		} else {
			kept = append(kept, p.ID)
		}
	}
	d.commands.start(t)
	eventually(t, "an empty queue", func() bool {
		state, err := d.channel.QueueDeclarePassive(d.exchange, true, false, false, false, nil)
		require.NoError(t, err)
		return state.Messages == 0
	})
	for _, id := range kept {
		d.waitKnown(t, id, true)
	}
	for _, id := range append(gone, before.ID) {
		d.waitKnown(t, id, false)
	}
}
