package rabbitmq

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"microcomm/docs/tools/internal/process"
)

// waitForAMQP waits until a broker at address responds, or ctx ends, or node
// does, which may be nil. Every caller sets a deadline on ctx.
func waitForAMQP(ctx context.Context, address string, node *process.Process, progress io.Writer) error {
	var ended <-chan struct{}
	if node != nil {
		ended = node.Done()
	}
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	report := time.NewTicker(5 * time.Second)
	defer report.Stop()
	start := time.Now()
	deadline, _ := ctx.Deadline()
	var last error
	for {
		err := greet(ctx, address)
		if err == nil {
			return nil
		}
		if last == nil || time.Now().Before(deadline) { // it was cut short, which says nothing about the broker
			last = err
		}
		for wait := true; wait; {
			select {
			case <-ended:
				return fmt.Errorf("it ended early: %s", node.Ending())
			case <-ctx.Done():
				if errors.Is(ctx.Err(), context.Canceled) { // by Ctrl-C
					return ctx.Err()
				}
				return fmt.Errorf("not ready after %.0fs: %w", time.Since(start).Seconds(), last)
			case <-report.C:
				fmt.Fprintf(progress, "broker: still starting (%.0fs)\n", time.Since(start).Seconds())
			case <-poll.C:
				wait = false
			}
		}
	}
}

// greet opens a connection and expects the broker's first method,
// Connection.Start: a port that merely listens is not a broker yet.
func greet(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if _, err := io.WriteString(conn, "AMQP\x00\x00\x09\x01"); err != nil {
		return err
	}
	var frame [11]byte // type, channel (2), size (4), class (2), method (2)
	if _, err := io.ReadFull(conn, frame[:]); err != nil {
		return fmt.Errorf("read its greeting: %w", err)
	}
	class, method := binary.BigEndian.Uint16(frame[7:]), binary.BigEndian.Uint16(frame[9:])
	if frame[0] != 1 || class != 10 || method != 10 {
		return fmt.Errorf("%s does not speak AMQP 0-9-1", address)
	}
	return nil
}
