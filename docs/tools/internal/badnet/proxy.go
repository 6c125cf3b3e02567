// Package badnet is a piece of network that can be slowed, stalled or cut.
package badnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Proxy is a piece of network. It forwards TCP connections to one address, and can
// delay, stall or cut them.
type Proxy struct {
	target   string
	listener net.Listener
	ctx      context.Context
	end      context.CancelFunc
	running  sync.WaitGroup

	mu      sync.Mutex
	state   State
	changed chan struct{} // closed when state changes
}

// State is how the proxy treats its connections.
type State struct {
	Delay     time.Duration // of every byte, in both directions
	DelayBack time.Duration // further, of every byte that the target sends
	Stalled   bool          // nothing arrives, and no error says so
	Cut       bool          // connections end, and new ones are closed at once
}

// New listens on a free loopback port and forwards to target, host:port.
func New(target string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for a proxy: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	p := &Proxy{target: target, listener: listener, ctx: ctx, end: end, changed: make(chan struct{})}
	p.running.Go(p.accept)
	return p, nil
}

// Address is where the proxy listens.
func (p *Proxy) Address() string { return p.listener.Addr().String() }

// Set changes the network, for existing connections too.
func (p *Proxy) Set(n State) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = n
	close(p.changed)
	p.changed = make(chan struct{})
}

// now returns the state of the network, and a channel that is closed when it changes.
func (p *Proxy) now() (State, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.changed
}

// Close ends every connection and drops what is on its way.
func (p *Proxy) Close() {
	p.end()
	p.listener.Close()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // a connection that ended before it was accepted
		}
		p.running.Go(func() { p.forward(client) })
	}
}

// forward serves one connection until it has ended or is cut.
func (p *Proxy) forward(client net.Conn) {
	defer client.Close()
	ctx, end := context.WithCancel(p.ctx)
	defer end()
	if n, _ := p.now(); n.Cut {
		return
	}
	server, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", p.target)
	if err != nil {
		return
	}
	defer server.Close()
	var pumps sync.WaitGroup
	pumps.Go(func() { p.pump(ctx, client, server, func(n State) time.Duration { return n.Delay }) })
	pumps.Go(func() { p.pump(ctx, server, client, func(n State) time.Duration { return n.Delay + n.DelayBack }) })
	ended := make(chan struct{})
	go func() {
		pumps.Wait()
		close(ended)
	}()
	for {
		n, changed := p.now()
		if n.Cut {
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

// chunk is some bytes and when they arrived.
type chunk struct {
	data []byte
	came time.Time
}

// pump copies from one side to the other until the first closes, and then closes the
// second for writing. delay says how late each byte is in a state of the network.
func (p *Proxy) pump(ctx context.Context, from, to net.Conn, delay func(State) time.Duration) {
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
		if p.hold(ctx, c.came, delay) != nil {
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

// hold waits until bytes that arrived at came may pass.
func (p *Proxy) hold(ctx context.Context, came time.Time, delay func(State) time.Duration) error {
	for {
		n, changed := p.now()
		wait := time.Until(came.Add(delay(n)))
		if !n.Stalled && wait <= 0 {
			return nil
		}
		var due <-chan time.Time // nil, which is never due, while the network is stalled
		if !n.Stalled {
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
