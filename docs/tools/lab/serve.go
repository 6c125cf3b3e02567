package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"microcomm/docs/tools/internal/process"
	"microcomm/docs/tools/internal/rabbitmq"
	"microcomm/docs/tools/internal/repo"
)

// fleet is the processes of lab run.
type fleet struct {
	lab      *lab
	stage    repo.Stage
	dir      string     // holds the programs
	services []*service // in the order of their start
	pages    []string   // about their APIs
	env      []string   // of each
	broker   *rabbitmq.Broker
	headers  []string // of a request; with --auth, a token

	mu       sync.Mutex    // guards the services' processes: control starts some again
	printing sync.Mutex    // of a line
	died     chan *service // a service that ended without lab
	leaving  chan struct{} // closed when the others have ended, too
	watchers sync.WaitGroup
}

// use gives the services a broker.
func (f *fleet) use(b *rabbitmq.Broker) {
	fmt.Fprintln(f.lab.out, "broker:", b.What)
	f.broker = b
	f.env = append(f.env, "RABBITMQ_URL="+b.URL)
	if b.Node != nil {
		f.services = append([]*service{{title: "The broker", node: b.Node, process: b.Node.Process()}}, f.services...)
	}
}

// introduce gives each service the address of the other one, which a setting may have
// moved. In final PlatformService does not call CommandsService, unless a setting says so.
func (f *fleet) introduce() {
	for _, service := range f.services {
		switch {
		case service.binary == "commandsservice" && !f.stage.InOneProcess():
			f.env = withDefault(f.env, "COMMANDS_SERVICE_URL", "http://"+service.http.address()+"/api/c/platforms")
		case service.grpc != nil:
			f.env = withDefault(f.env, "PLATFORMS_GRPC_TARGET", service.grpc.address())
		}
	}
}

// find returns the service with that program, or nil.
func (f *fleet) find(binary string) *service {
	at := slices.IndexFunc(f.services, func(s *service) bool { return s.binary == binary })
	if at < 0 {
		return nil
	}
	return f.services[at]
}

// serve starts the services, prints where they are, and stops them when ctx ends
// or one of them does. c may be nil.
func (f *fleet) serve(ctx context.Context, c *console) error {
	f.died, f.leaving = make(chan *service), make(chan struct{})
	defer f.stop()
	for _, service := range f.services {
		if err := f.start(ctx, service); err != nil {
			return err
		}
	}
	if err := f.note(); err != nil {
		return err
	}
	ready := make(chan error, 1)
	waiting, cancel := context.WithCancel(ctx)
	defer c.attend(waiting)()
	defer cancel()
	f.watchers.Go(func() { ready <- f.waitForServices(waiting, f.services) })
	for {
		select {
		case err := <-ready:
			if err != nil {
				return err
			}
			c.ready()
			f.mu.Lock()
			f.printing.Lock()
			greet(f.lab, f.stage, f.services, f.pages, f.headers != nil)
			f.printing.Unlock()
			f.mu.Unlock()
		case service := <-f.died:
			if ctx.Err() != nil {
				return ctx.Err()
			}
			cancel()
			fmt.Fprintf(f.lab.err, "\nlab: %s ended unexpectedly: %s; stopping the rest\n", service.title, service.process.Ending())
			return errReported
		case <-ctx.Done():
			fmt.Fprintln(f.lab.out, "\nstopping")
			return ctx.Err()
		}
	}
}

// start starts a service that is not running, including the broker after kill.
func (f *fleet) start(ctx context.Context, s *service) error {
	p := s.process
	switch {
	case s.node != nil && s.ending != nil:
		if err := s.node.Restart(ctx); err != nil {
			return err
		}
		p = s.node.Process()
	case s.node == nil:
		prefix := colour(f.lab.out, s.colour, fmt.Sprintf("%-15s |", s.binary)) + " "
		out := &lineWriter{prefix: prefix, out: f.lab.out, lock: &f.printing}
		var err error
		p, err = process.Start(process.Command{
			Args: []string{filepath.Join(f.dir, s.binary)}, // LookPath adds .exe
			Dir:  f.stage.Dir, Env: slices.Concat(f.env, s.env), Stdout: out, Stderr: out,
		})
		if err != nil {
			return err
		}
	}
	ending := &atomic.Bool{}
	f.mu.Lock()
	s.process, s.ending = p, ending
	f.mu.Unlock()
	f.watch(s, p, ending)
	return nil
}

// watch reports a process that ends without kill, until stop.
func (f *fleet) watch(s *service, p *process.Process, ending *atomic.Bool) {
	f.watchers.Go(func() {
		select {
		case <-p.Done():
			if ending.Load() {
				return
			}
			select {
			case f.died <- s:
			case <-f.leaving:
			}
		case <-f.leaving:
		}
	})
}

// kill ends a service like kill -9.
func (f *fleet) kill(s *service) {
	s.ending.Store(true)
	if s.node != nil {
		s.node.Kill()
		return
	}
	s.process.Kill()
}

// stop stops the services, the last one started first, all within five seconds.
// The broker is left to its owner.
func (f *fleet) stop() {
	close(f.leaving)
	f.watchers.Wait()
	for _, s := range slices.Backward(f.services) {
		if s.process != nil && s.node == nil {
			s.process.Stop(2 * time.Second)
		}
	}
}
