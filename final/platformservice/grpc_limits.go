package platformservice

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/peer"

	"microcomm/final/internal/web"
	"microcomm/final/proto"
)

// What the clients of gRPC can make the service hold in memory.
const (
	maxConnections = 64
	maxStreams     = 32 // of all connections
	maxAnswers     = 2  // to GetAllPlatforms, of up to maxResponse each
	// sendTimeout is how long a client may take for one page of a stream, and for
	// what is still to be written when a call has ended.
	sendTimeout = 2 * web.RequestTimeout
)

// callLimit bounds how many calls have something in memory. That is from the
// beginning of a call until its connection has written what it sent: for gRPC a
// message is sent, and a handler done, when the message waits for the client.
type callLimit struct {
	most        int
	sendTimeout time.Duration // sendTimeout, but in tests

	mu    sync.Mutex
	calls []*grpcCall
}

// grpcCall is a call that counts.
type grpcCall struct {
	limit *callLimit
	conn  *countedConn
	begun int64     // what the connection had written before
	sent  int64     // bytes, or fewer: what it has to write
	ended time.Time // zero: it has not
}

// begin returns the call of ctx, unless there are too many.
func (l *callLimit) begin(ctx context.Context) (*grpcCall, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.calls) >= l.most {
		l.calls = slices.DeleteFunc(l.calls, (*grpcCall).released)
	}
	if len(l.calls) >= l.most {
		return nil, false
	}
	conn := connOf(ctx)
	call := &grpcCall{limit: l, conn: conn, begun: conn.written.Load()}
	l.calls = append(l.calls, call)
	return call, true
}

// end is called when the handler has ended.
func (c *grpcCall) end() {
	c.limit.mu.Lock()
	defer c.limit.mu.Unlock()
	c.ended = time.Now()
}

// released reports whether nothing of the call is in memory. It closes the
// connection of a client that does not take what it has asked for.
func (c *grpcCall) released() bool {
	if c.ended.IsZero() {
		return false
	}
	if c.conn.closed.Load() || c.conn.written.Load() >= c.begun+c.sent {
		return true
	}
	if time.Since(c.ended) > c.limit.sendTimeout {
		c.conn.Close()
	}
	return c.conn.closed.Load()
}

// sendPage sends platforms. A client that does not take them within the time loses
// its connection: gRPC has no other way to forget what waits for it.
func (c *grpcCall) sendPage(stream grpc.ServerStreamingServer[proto.GrpcPlatformModel], page []platform) error {
	stalled := time.AfterFunc(c.limit.sendTimeout, func() { c.conn.Close() })
	defer stalled.Stop()
	for _, p := range page {
		model := toPlatformModel(p)
		if err := stream.Send(model); err != nil {
			return err
		}
		c.sent += int64(len(model.Name) + len(model.Publisher))
	}
	return nil
}

// countedListener counts what each of its connections writes.
type countedListener struct{ net.Listener }

// Accept implements net.Listener.
func (l countedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countedConn{Conn: conn}, nil
}

// countedConn is a connection of a countedListener.
type countedConn struct {
	net.Conn
	written atomic.Int64 // bytes
	closed  atomic.Bool
}

// Write implements net.Conn.
func (c *countedConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	c.written.Add(int64(n))
	return n, err
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// RemoteAddr implements net.Conn. The address is all that a call is told of its
// connection, so it leads back to it.
func (c *countedConn) RemoteAddr() net.Addr { return countedAddr{c.Conn.RemoteAddr(), c} }

type countedAddr struct {
	net.Addr
	conn *countedConn
}

// connOf returns the connection of a call.
func connOf(ctx context.Context) *countedConn {
	from, _ := peer.FromContext(ctx)
	return from.Addr.(countedAddr).conn
}
