package rabbitmq

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// TestAWaitThatIsInterruptedSaysSo: Ctrl-C is no fault of the broker.
func TestAWaitThatIsInterruptedSaysSo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	ctx, interrupt := context.WithTimeout(t.Context(), time.Minute)
	go func() {
		defer interrupt() // after the first attempt has failed
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Read(make([]byte, 8))
			conn.Close()
		}
	}()
	if err := waitForAMQP(ctx, listener.Addr().String(), nil, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("it says %v", err)
	}
}
