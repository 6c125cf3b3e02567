package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	amqp "github.com/rabbitmq/amqp091-go"

	"microcomm/final/internal/bus"
)

// alarmTimeout is how long a replay waits while the broker accepts nothing.
const alarmTimeout = 30 * time.Second

// positionOf returns the position that @N stands for.
func positionOf(id string) (position int, ok bool) {
	text, ok := strings.CutPrefix(id, "@")
	position, err := strconv.Atoi(text)
	return position, ok && err == nil && position > 0
}

// meant reports whether the message at a position is meant by the id.
func (l *deadLetters) meant(position int, d amqp.Delivery) bool {
	if at, ok := positionOf(l.cfg.id); ok {
		return at == position
	}
	return l.cfg.id == "all" || l.cfg.id == idOf(d) || l.cfg.id == quoted(idOf(d))
}

// each calls do for the messages that are meant and returns how many they were.
// That there is none is an error, unless all are meant.
func (l *deadLetters) each(ctx context.Context, do func(position int, d amqp.Delivery) error) (found int, err error) {
	for position, last := 1, l.count; position <= last; position++ {
		if ctx.Err() != nil {
			return found, errInterrupted
		}
		d, err := l.get(ctx)
		if errors.Is(err, errHeld) {
			return found, fmt.Errorf("%d of %d dead letters could not be read: %w", last-position+1, last, err)
		}
		if err != nil && ctx.Err() != nil {
			return found, errInterrupted
		}
		if err != nil {
			return found, err
		}
		if !l.meant(position, d) {
			continue
		}
		if err := do(position, d); err != nil {
			return found, err
		}
		found++
	}
	if found == 0 && l.cfg.id != "all" {
		return 0, fmt.Errorf("no dead letter %s in %s", quoted(l.cfg.id), quoted(bus.DeadQueue(l.cfg.queue)))
	}
	return found, nil
}

var errInterrupted = errors.New("interrupted")

func (l *deadLetters) list(ctx context.Context, out io.Writer) error {
	l.cfg.id = "all"
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tAT\tTIME\tBYTES\tREASON")
	total := l.count
	_, err := l.each(ctx, func(position int, d amqp.Delivery) error {
		_, err := fmt.Fprintf(table, "%s\t@%d\t%s\t%d\t%.100q\n", quoted(idOf(d)), position, d.Timestamp.UTC().Format(time.RFC3339), len(d.Body), reason(d))
		return err
	})
	fmt.Fprintf(table, "%d dead letters of %s\n", total, quoted(l.cfg.queue))
	return errors.Join(table.Flush(), err)
}

func (l *deadLetters) show(ctx context.Context, out io.Writer) error {
	_, err := l.each(ctx, func(_ int, d amqp.Delivery) error {
		fmt.Fprintf(out, "id: %s\ntime: %s\ntype: %s\napp: %s\ncontent type: %s\nreason: %q\n", quoted(idOf(d)),
			d.Timestamp.UTC().Format(time.RFC3339), quoted(d.Type), quoted(d.AppId), quoted(d.ContentType), reason(d))
		for _, name := range slices.Sorted(maps.Keys(d.Headers)) {
			fmt.Fprintf(out, "header %s: %s\n", quoted(name), quoted(fmt.Sprint(d.Headers[name])))
		}
		_, err := fmt.Fprintf(out, "\n%s\n", body(d.Body))
		return err
	})
	return err
}

// body returns the body of a message for a terminal: what is no text is quoted.
func body(text []byte) string {
	isControl := func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }
	if s := string(text); !strings.ContainsFunc(s, isControl) && strings.ToValidUTF8(s, "") == s {
		return s
	}
	return strconv.Quote(string(text))
}

// replay publishes messages to the service's queue, so that no other subscriber
// gets them again, and then removes them.
func (l *deadLetters) replay(ctx context.Context, out io.Writer) error {
	// A connection that publishes is not read while the broker has an alarm: this one does nothing else.
	connectionCtx, cut := context.WithCancel(ctx)
	defer cut()
	connection, err := bus.Dial(connectionCtx, l.cfg.url, l.cfg.tls, time.Second)
	if err != nil {
		return explainDial(err)
	}
	var alarm alarm
	defer alarm.watching.Wait()
	defer bus.Close(connection)
	alarm.watch(connection, l.notes)
	timer := time.AfterFunc(stepTimeout, cut)
	sender, err := bus.NewSender(connection)
	timer.Stop()
	if err != nil {
		return err
	}
	replayed, total := 0, l.count
	_, err = l.each(ctx, func(_ int, d amqp.Delivery) error {
		if err := send(ctx, sender, l.cfg.queue, d, &alarm); err != nil {
			return err
		}
		replayed++
		return l.remove(d)
	})
	fmt.Fprintf(out, "%d replayed\n", replayed)
	if err != nil && l.cfg.id == "all" {
		return fmt.Errorf("%d of %d dead letters replayed, the others stay: %w", replayed, total, err)
	}
	return err
}

// send publishes one message and waits for the broker to confirm it.
func send(ctx context.Context, sender *bus.Sender, queue string, d amqp.Delivery, alarm *alarm) error {
	ctx, cancel := context.WithTimeout(ctx, alarmTimeout)
	defer cancel()
	wait, err := sender.Send(queue, bus.Resend(d, nil))
	if err == nil {
		err = wait(ctx)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.Canceled):
		err = errInterrupted
	}
	if reason := alarm.why(); reason != "" && ctx.Err() != nil {
		err = fmt.Errorf("%w while the broker has an alarm (%s); this one stays, and may arrive, too, once it is over", err, reason)
	}
	return fmt.Errorf("replay %s: %w", quoted(idOf(d)), err)
}

// alarm is what the broker says of accepting messages.
type alarm struct {
	watching sync.WaitGroup
	mu       sync.Mutex
	reason   string // why it accepts none; empty when it does
}

// watch notes what the broker says, until the connection ends.
func (a *alarm) watch(connection *amqp.Connection, notes io.Writer) {
	blocked := connection.NotifyBlocked(make(chan amqp.Blocking, 1))
	a.watching.Go(func() {
		for b := range blocked {
			a.mu.Lock()
			if a.reason = ""; b.Active {
				a.reason = quoted(b.Reason)
				fmt.Fprintf(notes, "dlq: the broker has an alarm (%s) and accepts nothing; waiting up to %s for its end\n", a.reason, alarmTimeout)
			}
			a.mu.Unlock()
		}
	})
}

func (a *alarm) why() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.reason
}

// drop deletes one message, or every one of an id when it was asked to.
func (l *deadLetters) drop(ctx context.Context, out io.Writer) error {
	var positions []string
	var letters []amqp.Delivery
	_, err := l.each(ctx, func(position int, d amqp.Delivery) error {
		positions, letters = append(positions, fmt.Sprintf("@%d", position)), append(letters, d)
		return nil
	})
	if err != nil {
		return fmt.Errorf("nothing dropped: %w", err)
	}
	if len(letters) > 1 && !l.cfg.every {
		return fmt.Errorf("nothing dropped: %d dead letters have the id %s, at %s: see them with `dlq show`, and drop one by its position (%s), or all of them with `dlq drop every ID`",
			len(letters), quoted(l.cfg.id), strings.Join(positions, ", "), positions[0])
	}
	for i, d := range letters {
		if err := l.remove(d); err != nil {
			fmt.Fprintf(out, "%d dropped\n", i)
			return err
		}
	}
	fmt.Fprintf(out, "%d dropped\n", len(letters))
	return nil
}
