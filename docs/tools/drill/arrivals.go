package main

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// arrivalPause is how long to wait before reading CommandsService's list again: longer
// for a long list, so that reading it does not become a load.
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

// gap is a time in which CommandsService did not answer: it went down between asked,
// when it answered for the last time, and lost; it was up again at back. For a platform
// accepted before lost and first seen at back, the time of arrival is unknown.
type gap struct{ asked, lost, back time.Time }

// hides reports whether the time of a platform's arrival is unknown.
func (g gap) hides(accepted, seen time.Time) bool {
	return !accepted.Before(g.asked) && !accepted.After(g.lost) && seen.Equal(g.back)
}

// watchArrivals starts watching. The caller must call stop.
func watchArrivals(ctx context.Context, c *client, services []*service) *arrivals {
	ctx, end := context.WithCancel(ctx)
	a := &arrivals{end: end, first: map[string]time.Time{}}
	a.poller.Go(func() {
		var asked, lost time.Time // lost is zero while CommandsService answers
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

// note records the platforms listed now, and the gap before it if there was one.
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

// has reports whether a platform of that name has arrived.
func (a *arrivals) has(name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.first[name]
	return ok
}

// newest is the time of the newest arrival.
func (a *arrivals) newest() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// seen returns when each name arrived, and the gaps.
func (a *arrivals) seen() (map[string]time.Time, []gap) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.first), slices.Clone(a.gaps)
}
