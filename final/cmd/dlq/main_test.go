package main

import (
	"context"
	"crypto/rand"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/bus"
	"microcomm/final/internal/tlsconfig"
)

// rig is a service's queue and its dead letters on a real broker.
type rig struct {
	url, queue string
	channel    *amqp.Channel
}

// newRig returns a rig with these dead letters, each with its body as its id.
func newRig(t *testing.T, letters ...string) rig {
	t.Helper()
	r := rig{url: os.Getenv("RABBITMQ_URL"), queue: "dlq-" + rand.Text()}
	if r.url == "" {
		t.Skip("RABBITMQ_URL is not set: go tool lab test starts a broker")
	}
	connection, err := bus.Dial(context.Background(), r.url, tlsconfig.Files{}, bus.BrokerTimeout)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	r.channel, err = connection.Channel()
	require.NoError(t, err)
	require.NoError(t, r.channel.Confirm(false))
	for _, queue := range []string{r.queue, r.queue + ".dead"} {
		_, err := r.channel.QueueDeclare(queue, true, false, false, false, amqp.Table{
			"x-queue-type": "quorum", "x-delivery-limit": int32(1 << 30)}) // each look at a letter is a delivery
		require.NoError(t, err)
		t.Cleanup(func() {
			_, err := r.channel.QueueDelete(queue, false, false, false)
			assert.NoError(t, err)
		})
	}
	for _, body := range letters {
		confirmation, err := r.channel.PublishWithDeferredConfirm("", r.queue+".dead", false, false, amqp.Publishing{
			MessageId: body, Type: "Platform_Published", ContentType: "application/json", Body: []byte(body),
			Headers: amqp.Table{"traceparent": "00-x", bus.ErrorHeader: "no\nJSON", bus.AttemptsHeader: int32(4)}})
		require.NoError(t, err)
		require.True(t, confirmation.Wait())
	}
	return r
}

// dlq runs the command and returns what it printed.
func (r rig) dlq(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return dlq(t, map[string]string{"RABBITMQ_URL": r.url, "COMMANDS_QUEUE": r.queue}, args...)
}

func dlq(t *testing.T, env map[string]string, args ...string) (string, error) {
	t.Helper()
	cfg, err := configure(args, func(name string) (string, bool) {
		value, ok := env[name]
		return value, ok
	})
	if err != nil {
		return "", err
	}
	var out strings.Builder
	err = run(t.Context(), cfg, &out, io.Discard)
	return out.String(), err
}

// dead returns the ids that are listed.
func (r rig) dead(t *testing.T) []string {
	t.Helper()
	out, err := r.dlq(t, "list")
	require.NoError(t, err)
	var ids []string
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for _, line := range lines[1 : len(lines)-1] {
		ids = append(ids, strings.Fields(line)[0])
	}
	return ids
}

// requireDead waits until these are listed: what a command has looked at goes
// back to a quorum queue a moment after its end.
func (r rig) requireDead(t *testing.T, ids ...string) {
	t.Helper()
	require.Eventually(t, func() bool { return slices.Equal(ids, r.dead(t)) }, 20*time.Second, 20*time.Millisecond, "%v", ids)
}

func TestDeadLetters(t *testing.T) {
	t.Run("are listed in order, again and again", func(t *testing.T) {
		r := newRig(t, "a", "b", "c")
		for range 3 {
			r.requireDead(t, "a", "b", "c")
		}
		out, err := r.dlq(t, "list")
		require.NoError(t, err)
		assert.Contains(t, out, `"no\nJSON"`)
		assert.Contains(t, out, "3 dead letters of "+r.queue)
	})

	t.Run("are shown whole", func(t *testing.T) {
		r := newRig(t, "a", "b")
		out, err := r.dlq(t, "show", "b")
		require.NoError(t, err)
		for _, part := range []string{"id: b\n", "type: Platform_Published\n", "header traceparent: 00-x\n", "header x-attempts: 4\n", "\n\nb\n"} {
			assert.Contains(t, out, part)
		}
		r.requireDead(t, "a", "b")
	})

	t.Run("are replayed as they were", func(t *testing.T) {
		r := newRig(t, "a", "b", "c")
		_, err := r.dlq(t, "replay", "b")
		require.NoError(t, err)
		r.requireDead(t, "a", "c")
		d, ok, err := r.channel.Get(r.queue, true)
		require.NoError(t, err)
		require.True(t, ok)
		assert.Equal(t, "b", string(d.Body))
		assert.Equal(t, []any{"b", "Platform_Published", "application/json", uint8(amqp.Persistent)},
			[]any{d.MessageId, d.Type, d.ContentType, d.DeliveryMode})
		assert.Equal(t, "00-x", d.Headers["traceparent"])
		assert.NotContains(t, d.Headers, bus.AttemptsHeader, "they are counted from the start")
		assert.NotContains(t, d.Headers, bus.ErrorHeader)

		out, err := r.dlq(t, "replay", "all")
		require.NoError(t, err)
		assert.Equal(t, "2 replayed\n", out)
		require.Empty(t, r.dead(t))
	})

	t.Run("stay when the service's queue is missing", func(t *testing.T) {
		r := newRig(t, "a")
		_, err := r.channel.QueueDelete(r.queue, false, false, false)
		require.NoError(t, err)
		_, err = r.dlq(t, "replay", "a")
		require.ErrorContains(t, err, "no queue "+r.queue)
		r.requireDead(t, "a")
	})

	t.Run("are dropped one by one", func(t *testing.T) {
		r := newRig(t, "a", "b")
		_, err := r.dlq(t, "drop", "a")
		require.NoError(t, err)
		r.requireDead(t, "b")
		_, err = r.dlq(t, "drop", "a")
		require.ErrorContains(t, err, "no dead letter a")
	})

	t.Run("are found by the settings of the service", func(t *testing.T) {
		r := newRig(t, "a")
		file := filepath.Join(t.TempDir(), "url")
		require.NoError(t, os.WriteFile(file, []byte(r.url+"\n"), 0o600))
		settings := map[string]string{"RABBITMQ_URL_FILE": file, "COMMANDS_QUEUE": r.queue}
		out, err := dlq(t, settings, "list")
		require.NoError(t, err)
		assert.Contains(t, out, "1 dead letters of "+r.queue)
		settings["RABBITMQ_TLS_CA_FILE"], settings["RABBITMQ_URL_FILE"] = "missing.pem", file+".missing"
		_, err = dlq(t, settings, "list")
		require.ErrorContains(t, err, "RABBITMQ_TLS_CA_FILE")
		require.ErrorContains(t, err, "RABBITMQ_URL_FILE", "all that are wrong")
	})

	t.Run("need a command", func(t *testing.T) {
		for _, args := range [][]string{nil, {"lst"}, {"show"}, {"drop"}, {"list", "x"}, {"drop", "all"}} {
			_, err := rig{}.dlq(t, args...)
			require.ErrorContains(t, err, "usage")
		}
	})
}
