package main

import (
	"bufio"
	"context"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"
)

// metrics holds the values of /metrics by name, added up over the labels.
type metrics map[string]float64

// scrape reads /metrics, Prometheus text.
func (c *client) scrape(ctx context.Context, s *service) (metrics, error) {
	found := metrics{}
	err := c.get(ctx, s.url+"/metrics", func(body io.Reader) error {
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Text()
			name, _, _ := strings.Cut(line, " ")
			name, _, _ = strings.Cut(name, "{")
			value, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
			if strings.HasPrefix(line, "#") || err != nil {
				continue
			}
			found[name] += value
		}
		return lines.Err()
	})
	return found, err
}

// resources are what a process uses at one time.
type resources struct {
	memory     int64 // resident, bytes
	goroutines int
}

// sampler records what a service uses: as soon as it responds, every half second, and
// at the end.
type sampler struct {
	end  context.CancelFunc
	loop sync.WaitGroup

	mu      sync.Mutex
	first   resources
	most    int64 // memory
	samples int
}

// sample starts sampling s. The caller must call stop.
func sample(ctx context.Context, c *client, s *service) *sampler {
	ctx, end := context.WithCancel(ctx)
	m := &sampler{end: end}
	m.loop.Go(func() {
		for {
			pause := 500 * time.Millisecond
			if !m.once(ctx, c, s) {
				pause = 10 * time.Millisecond
			}
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				m.once(context.WithoutCancel(ctx), c, s)
				return
			}
		}
	})
	return m
}

// once takes a sample, and reports whether the service responded.
func (m *sampler) once(ctx context.Context, c *client, s *service) bool {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	found, err := c.scrape(ctx, s)
	if err != nil {
		return false // down for the moment; a sampler that never succeeds has no samples
	}
	now := resources{memory: int64(found["process_resident_memory_bytes"]), goroutines: int(found["go_goroutines"])}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.samples == 0 {
		m.first = now
	}
	m.samples++
	m.most = max(m.most, now.memory)
	return true
}

// stop ends the sampling, after which the fields may be read.
func (m *sampler) stop() {
	m.end()
	m.loop.Wait()
}
