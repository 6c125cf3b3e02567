package main

import (
	"context"
	"maps"
	"slices"
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
	gaps  []gap
}

// gap is a time in which CommandsService could not be asked: it went away
// between the last time it was and lost, and was back at back. When a platform
// arrived that was accepted before lost, and was first seen at back, is not known.
type gap struct{ asked, lost, back time.Time }

// hides tells if it is not known when a platform arrived.
func (g gap) hides(accepted, seen time.Time) bool {
	return !accepted.Before(g.asked) && !accepted.After(g.lost) && seen.Equal(g.back)
}

// watchArrivals starts to watch. It has to be stopped.
func watchArrivals(ctx context.Context, c *client, services []*service) *arrivals {
	ctx, end := context.WithCancel(ctx)
	a := &arrivals{end: end, first: map[string]time.Time{}}
	a.poller.Go(func() {
		var asked, lost time.Time // lost: zero while it can be asked
		for {
			begun := time.Now()
			list, err := c.list(ctx, services, commandsPath)
			now := time.Now()
			if err == nil {
				a.note(list, now, gap{asked, lost, now})
				asked, lost = begun, time.Time{}
			} else if lost.IsZero() {
				lost = now
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

// note takes in what is listed now, after a gap if it has a lost.
func (a *arrivals) note(list []platform, now time.Time, after gap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !after.lost.IsZero() {
		a.gaps = append(a.gaps, after)
	}
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

// seen is a copy of when each name arrived, and of the gaps.
func (a *arrivals) seen() (map[string]time.Time, []gap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.first), slices.Clone(a.gaps)
}
