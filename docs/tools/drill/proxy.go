package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// proxy is a piece of network that can be made bad: it forwards TCP connections
// to one address, late, not at all, or cut.
type proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context
	end      context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	state   networkState
	changed chan struct{} // closed when state changes
}

// networkState is how the proxy treats what passes.
type networkState struct {
	delay   time.Duration // every byte comes so much later, in both directions
	stalled bool          // nothing comes, and nothing says so
	cut     bool          // connections end, and new ones are closed at once
}

// newProxy listens on a free loopback port and forwards to target, host:port.
func newProxy(target string) (*proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	p := &proxy{target: target, listener: listener, ctx: ctx, end: end, changed: make(chan struct{})}
	p.running.Go(p.accept)
	return p, nil
}

// address is where the proxy listens.
func (p *proxy) address() string { return p.listener.Addr().String() }

// set changes the network, for connections that exist too.
func (p *proxy) set(n networkState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = n
	close(p.changed)
	p.changed = make(chan struct{})
}

// now is how the network is, and a channel that is closed when that changes.
func (p *proxy) now() (networkState, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// close ends every connection; what is on its way is dropped.
func (p *proxy) close() {
	p.end()
	p.listener.Close()
	p.running.Wait()
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a connection that ended before it was taken
		}
		p.running.Go(func() { p.forward(client) })
	}
}

// forward serves one connection until it has ended or is cut.
func (p *proxy) forward(client net.Conn) {
	defer client.Close()
	ctx, end := context.WithCancel(p.ctx)
	defer end()
	if n, _ := p.now(); n.cut {
		return
	}
	server, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(ctx, client, server) })
	pumps.Go(func() { p.pump(ctx, server, client) })
	ended := make(chan struct{})
	go func() {
		pumps.Wait()
		close(ended)
	}()
	for {
		n, changed := p.now()
		if n.cut {
			break
		}
		select {
		case <-changed:
			continue
		case <-ended:
		case <-p.ctx.Done():
		}
		break
	}
	end()
	client.Close()
	server.Close()
	<-ended
}

// chunk is some bytes and when they came.
type chunk struct {
	data []byte
	came time.Time
}

// pump copies from one side to the other until the first says nothing more, and
// then says so to the second.
func (p *proxy) pump(ctx context.Context, from, to net.Conn) {
	ctx, end := context.WithCancel(ctx)
	chunks := make(chan chunk, 256)
	var reader sync.WaitGroup
	defer reader.Wait()
	defer end()
	reader.Go(func() {
		defer close(chunks)
		for {
			data := make([]byte, 16<<10)
			n, err := from.Read(data)
			if n > 0 {
				select {
				case chunks <- chunk{data[:n], time.Now()}:
				case <-ctx.Done():
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	for c := range chunks {
		if p.hold(ctx, c.came) != nil {
			return
		}
		if _, err := to.Write(c.data); err != nil {
			from.Close() // ends the reader's Read
			return
		}
	}
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// hold waits until what came at that time may pass.
func (p *proxy) hold(ctx context.Context, came time.Time) error {
	for {
		n, changed := p.now()
		wait := time.Until(came.Add(n.delay))
		if !n.stalled && wait <= 0 {
			return nil
		}
		var due <-chan time.Time // nil, which is never due, while the network is stalled
		if !n.stalled {
			due = time.After(wait)
		}
		select {
		case <-due:
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
