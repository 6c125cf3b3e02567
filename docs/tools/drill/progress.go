package main

import (
	"fmt"
	"io"
	"sync"
	"time"

	"microcomm/docs/tools/internal/layout"
)

// progress shows the steps of a drill, and every five seconds the outcomes of its load.
type progress struct {
	out   io.Writer
	begun time.Time
	ended chan struct{}
	loop  sync.WaitGroup

	mu   sync.Mutex
	load *load
}

// startProgress starts showing progress. The caller must call stop.
func startProgress(out io.Writer) *progress {
	p := &progress{out: out, begun: time.Now(), ended: make(chan struct{})}
	p.loop.Go(func() {
		tick := time.NewTicker(5 * time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				p.loaded()
			case <-p.ended:
				return
			}
		}
	})
	return p
}

// follow shows the outcomes of l from now on.
func (p *progress) follow(l *load) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load = l
}

// Write shows the output of other parts. It implements io.Writer.
func (p *progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(text)
}

// say shows one line.
func (p *progress) say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%5.1fs  %s", time.Since(p.begun).Seconds(), fmt.Sprintf(format, args...))
	fmt.Fprintln(p.out, layout.Wrap(line, "        "))
}

func (p *progress) loaded() {
	p.mu.Lock()
	load := p.load
	p.mu.Unlock()
	if load == nil {
		return
	}
	var counts [3]int
	for _, post := range load.history() {
		counts[post.outcome]++
	}
	p.say("  … accepted %d, refused %d, unknown %d", counts[accepted], counts[refused], counts[unknown])
}

func (p *progress) stop() {
	close(p.ended)
	p.loop.Wait()
}
