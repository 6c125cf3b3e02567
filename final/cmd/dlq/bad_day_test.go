package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// notes is what dlq says while it waits.
type notes struct {
	mu   sync.Mutex
	text strings.Builder
	said chan struct{} // has a value when something was said
}

func newNotes() *notes { return &notes{said: make(chan struct{}, 1)} }

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.said <- struct{}{}:
	default:
	}
	return n.text.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.text.String()
}

// configure returns what the command is called with.
func (r rig) configure(t *testing.T, args ...string) config {
	t.Helper()
	cfg, err := configure(args, func(name string) (string, bool) {
		value, ok := map[string]string{"RABBITMQ_URL": r.url, "COMMANDS_QUEUE": r.queue}[name]
		return value, ok
	})
	require.NoError(t, err)
	return cfg
}

// ready returns how many messages are in a queue, or 0 when it does not answer the
// broker within 250 ms.
func (r rig) ready(t *testing.T, queue string) int {
	t.Helper()
	state, err := r.channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(t, err)
	return state.Messages
}

func TestDeadLettersOfOneReaderAreNotMissedByAnother(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	reading, err := openLetters(t.Context(), r.configure(t, "list"), io.Discard)
	require.NoError(t, err)
	require.NoError(t, reading.list(t.Context(), io.Discard)) // holds all three

	ended, out, said := make(chan error, 1), &strings.Builder{}, newNotes()
	cfg := r.configure(t, "replay", "all")
	go func() { ended <- run(t.Context(), cfg, out, said) }()
	<-said.said
	assert.Contains(t, said.String(), "another dlq")
	reading.close(t.Context())
	require.NoError(t, <-ended)
	assert.Equal(t, "3 replayed\n", out.String())
	require.Eventually(t, func() bool { return r.ready(t, r.queue) == 3 }, 20*time.Second, 20*time.Millisecond)
}

// TestDeadLettersOfAQueueThatIsSlowToSayHowMany: after 250 ms, the broker says 0.
func TestDeadLettersOfAQueueThatIsSlowToSayHowMany(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	direct := r.url
	r.url = slowQueue(t, direct, r.queue+".dead")
	out, err := r.dlq(t, "list")
	require.NoError(t, err)
	assert.Contains(t, out, "3 dead letters of "+r.queue)
	r.url = direct
	r.requireDead(t, "a", "b", "c")
	r.url = slowQueue(t, direct, r.queue+".dead")
	out, err = r.dlq(t, "drop", "@1")
	require.NoError(t, err)
	assert.Equal(t, "1 dropped\n", out)
	r.url = direct
	r.requireDead(t, "b", "c")
}

func TestReplayThatDoesNotReachAllSaysSo(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	letters, err := openLetters(t.Context(), r.configure(t, "replay", "all"), io.Discard)
	require.NoError(t, err)
	for range 2 { // no dlq, and it keeps them
		_, ok, err := r.channel.Get(r.queue+".dead", false)
		require.NoError(t, err)
		require.True(t, ok)
	}
	var out strings.Builder
	err = letters.replay(t.Context(), &out)
	letters.close(t.Context())
	require.ErrorContains(t, err, "1 of 3 dead letters replayed")
	assert.Equal(t, "1 replayed\n", out.String())
}

func TestReplayThatTheQueueRefusesSaysWhatStays(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	_, err := r.channel.QueueDelete(r.queue, false, false, false)
	require.NoError(t, err)
	_, err = r.channel.QueueDeclare(r.queue, true, false, false, false, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	require.NoError(t, err)
	out, err := r.dlq(t, "replay", "all")
	require.ErrorContains(t, err, "1 of 3 dead letters replayed")
	assert.Equal(t, "1 replayed\n", out)
	r.requireDead(t, "b", "c")
}

func TestDeadLettersWithOneID(t *testing.T) {
	r := newRig(t, "a", "b", "a")
	_, err := r.dlq(t, "drop", "a")
	require.ErrorContains(t, err, "nothing dropped: 2 dead letters have the id a, at @1, @3")
	r.requireDead(t, "a", "b", "a")

	out, err := r.dlq(t, "drop", "@3")
	require.NoError(t, err)
	assert.Equal(t, "1 dropped\n", out)
	r.requireDead(t, "a", "b")

	r = newRig(t, "a", "b", "a")
	out, err = r.dlq(t, "drop", "every", "a")
	require.NoError(t, err)
	assert.Equal(t, "2 dropped\n", out)
	r.requireDead(t, "b")
	_, err = r.dlq(t, "drop", "@2")
	require.ErrorContains(t, err, "no dead letter @2")
}

func TestDeadLettersDoNotForgeLines(t *testing.T) {
	const evil = "\x1b[2J\r\nforged  1 dead letters"
	r := newRig(t)
	r.publish(t, amqp.Publishing{MessageId: evil, Type: evil, AppId: evil, ContentType: evil, Body: []byte("\x1b[2Jbody"),
		Headers: amqp.Table{evil: evil, "nested": amqp.Table{"x": []any{evil, []byte(evil)}}, "x-error": evil}})
	r.publish(t, amqp.Publishing{MessageId: "\u202eright to left", Body: []byte("two\nlines")})
	for _, args := range [][]string{{"list"}, {"show", "all"}, {"show", "@1"}, {"drop", evil + "?"}, {"show", "\x1b]0;x\x07"}} {
		out, err := r.dlq(t, args...)
		text := out + fmt.Sprint(err)
		assert.NotContains(t, text, "\x1b")
		assert.NotContains(t, text, "\r")
		assert.NotContains(t, text, "\u202e")
		assert.NotContains(t, text, "\nforged")
	}
	out, err := r.dlq(t, "show", "@2")
	require.NoError(t, err)
	assert.Contains(t, out, "\n\ntwo\nlines\n")
	_, err = r.dlq(t, "drop", `"\x1b[2J\r\nforged  1 dead letters"`) // as it was shown
	require.NoError(t, err)
	_, err = r.dlq(t, "drop", "\u202eright to left")
	require.NoError(t, err)
	require.Zero(t, r.ready(t, r.queue+".dead"))
}

func TestUnreadableDeadLetterIsNotInTheWay(t *testing.T) {
	nested := amqp.Table{}
	for range 40 {
		nested = amqp.Table{"x": nested}
	}
	many := amqp.Table{}
	for i := range 8193 {
		many[fmt.Sprint(i)] = nil
	}
	for what, headers := range map[string]amqp.Table{"too deep": nested, "too many": many} {
		t.Run(what, func(t *testing.T) {
			r := newRig(t, "a")
			r.publish(t, amqp.Publishing{MessageId: "unreadable", ContentType: "application/json", Headers: headers, Body: []byte("the body")})
			r.publish(t, amqp.Publishing{MessageId: "b"})

			assert.Equal(t, []string{"a", "unreadable", "b"}, r.dead(t))
			out, err := r.dlq(t, "show", "@2")
			require.NoError(t, err)
			assert.Contains(t, out, "its headers were not readable")
			assert.Contains(t, out, "\n\nthe body\n")
			out, err = r.dlq(t, "replay", "unreadable")
			require.NoError(t, err)
			assert.Equal(t, "1 replayed\n", out)
			d, ok, err := r.channel.Get(r.queue, true)
			require.NoError(t, err)
			require.True(t, ok)
			assert.Equal(t, []string{"unreadable", "the body"}, []string{d.MessageId, string(d.Body)})

			r.publish(t, amqp.Publishing{MessageId: "unreadable", Headers: headers})
			_, err = r.dlq(t, "drop", "unreadable")
			require.NoError(t, err)
			out, err = r.dlq(t, "replay", "all")
			require.NoError(t, err)
			assert.Equal(t, "2 replayed\n", out)
		})
	}
}

func TestManyDeadLettersKeepTheirPlaces(t *testing.T) {
	ids := make([]string, 50)
	for i := range ids {
		ids[i] = fmt.Sprint(i)
	}
	r := newRig(t, ids...)
	for range 3 {
		assert.Equal(t, ids, r.dead(t))
	}
	_, err := r.dlq(t, "drop", "@31")
	require.NoError(t, err)
	assert.Equal(t, slices.Delete(ids, 30, 31), r.dead(t))
}

// TestReplayIsInterruptedDuringAnAlarm lets the broker take the first message, and
// then behave as one that is short of memory: it announces it and stops reading.
func TestReplayIsInterruptedDuringAnAlarm(t *testing.T) {
	r := newRig(t, "a", "b", "c")
	cfg := r.configure(t, "replay", "all")
	said := newNotes()
	letters, err := openLetters(t.Context(), cfg, said)
	require.NoError(t, err)
	letters.cfg.url = alarmedBroker(t, r.url, "b")
	ctx, interrupt := context.WithCancel(t.Context())
	var out strings.Builder
	ended := make(chan error, 1)
	go func() { ended <- letters.replay(ctx, &out) }()
	<-said.said
	assert.Contains(t, said.String(), "low on ram")
	interrupt()
	require.ErrorContains(t, <-ended, "1 of 3 dead letters replayed, the others stay: replay b: interrupted while the broker has an alarm")
	assert.Equal(t, "1 replayed\n", out.String())
	letters.close(ctx)
	require.Eventually(t, func() bool { return r.ready(t, r.queue+".dead") == 2 }, 20*time.Second, 20*time.Millisecond)
}

// alarmedBroker returns the URL of a proxy to a broker. Before the message with
// this body it tells the client of an alarm, and reads nothing more from it.
func alarmedBroker(t *testing.T, brokerURL, body string) string {
	t.Helper()
	ended := t.Context().Done()
	return brokerProxy(t, brokerURL, func(sent []byte, client io.Writer) bool {
		if !bytes.Contains(sent, []byte("\x00\x01"+body+"\xce")) { // a frame with this body
			return true
		}
		_, _ = client.Write([]byte("\x01\x00\x00\x00\x00\x00\x0f\x00\x0a\x00\x3c\x0alow on ram\xce"))
		<-ended
		return false
	}, func([]byte) {})
}

// slowQueue returns the URL of a proxy to a broker. When it counts the messages in
// this queue for the first time, it says 0.
func slowQueue(t *testing.T, brokerURL, queue string) string {
	t.Helper()
	declared := fmt.Appendf(nil, "\x00\x32\x00\x0b%c%s", len(queue), queue) // class 50, method 11: queue.declare-ok
	counted := false
	return brokerProxy(t, brokerURL, func([]byte, io.Writer) bool { return true }, func(received []byte) {
		if _, count, found := bytes.Cut(received, declared); found && !counted {
			clear(count[:4])
			counted = true
		}
	})
}

// brokerProxy returns the URL of a proxy to a broker, for one connection. It ends
// when sent, which is passed what the client sends, returns false. What the client
// receives is passed to received before.
func brokerProxy(t *testing.T, brokerURL string, sent func(b []byte, client io.Writer) bool, received func(b []byte)) string {
	t.Helper()
	u, err := url.Parse(brokerURL)
	require.NoError(t, err)
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), "5672")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	t.Cleanup(func() { listener.Close() })
	target := u.Host
	u.Host = listener.Addr().String()
	running.Go(func() {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		defer client.Close()
		server, err := net.Dial("tcp", target)
		if err != nil {
			return
		}
		running.Go(func() {
			copyTo(client, server, func(b []byte) bool { received(b); return true })
		})
		defer server.Close()
		copyTo(server, client, func(b []byte) bool { return sent(b, client) })
	})
	return u.String()
}

// copyTo copies what it reads until pass returns false, or either side is closed.
func copyTo(to io.Writer, from io.Reader, pass func(b []byte) bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if err != nil || !pass(buffer[:n]) {
			return
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// publish adds a dead letter.
func (r rig) publish(t *testing.T, letter amqp.Publishing) {
	t.Helper()
	confirmation, err := r.channel.PublishWithDeferredConfirm("", r.queue+".dead", false, false, letter)
	require.NoError(t, err)
	require.True(t, confirmation.Wait())
}
