package main

import (
	"context"
	"sync"
	"time"
)

// arrivalPause is how long to wait before CommandsService is asked again what it
// has: longer where the list is so long that reading it is load of its own.
func arrivalPause(list []platform) time.Duration {
	return max(50*time.Millisecond, time.Duration(len(list))*20*time.Microsecond)
}

// arrivals notes when each platform can first be read in CommandsService.
type arrivals struct {
	end    context.CancelFunc
	poller sync.WaitGroup

	mu    sync.Mutex
	first map[string]time.Time
	last  time.Time // of the newest arrival
}

// watchArrivals starts to watch. It has to be stopped.
func watchArrivals(ctx context.Context, c *client, services []*service) *arrivals {
	ctx, end := context.WithCancel(ctx)
	a := &arrivals{end: end, first: map[string]time.Time{}}
	a.poller.Go(func() {
		for {
			list, err := c.list(ctx, services, commandsPath)
			if err == nil {
				a.note(list)
			}
			pause := time.NewTimer(arrivalPause(list))
			select {
			case <-pause.C:
			case <-ctx.Done():
				pause.Stop()
				return
			}
		}
	})
	return a
}

func (a *arrivals) stop() {
	a.end()
	a.poller.Wait()
}

func (a *arrivals) note(list []platform) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range list {
		if _, seen := a.first[p.Name]; !seen {
			a.first[p.Name] = now
			a.last = now
		}
	}
}

// has tells if a platform of that name has arrived.
func (a *arrivals) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.first[name]
	return ok
}

// newest is when the newest arrival was.
func (a *arrivals) newest() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// times is a copy of when each name arrived.
func (a *arrivals) times() map[string]time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	times := make(map[string]time.Time, len(a.first))
	for name, at := range a.first {
		times[name] = at
	}
	return times
}
