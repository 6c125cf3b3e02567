package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"time"

	"microcomm/final/internal/backoff"
)

const (
	listLimit   = 1000    // platforms in one page
	listPages   = 5       // pages that are read at a time: the next second reads on
	listTracked = 10_000  // platforms that are remembered: the latest
	maxList     = 8 << 20 // bytes of a list without pages that are read
)

func listPath(part string) string {
	if part == "commandsservice" {
		return "/api/c/platforms"
	}
	return "/api/platforms"
}

// list is what a service says it has.
type list struct {
	service *service
	target  target
	subject string

	names  map[int32]string
	last   int32 // up to which the list has been read
	filled int32 // up to which it was last looked at for what was missing
	lowest int32 // below it, nothing is remembered

	forgotten int  // platforms below lowest
	whole     bool // the list has been read to its end once
	failed    int  // how often the service had failed when the list was last read from the beginning
	refused   bool // the service did not accept the console's token
}

// errRefused is wrapped by the error for a list that the console's token doesn't open.
var errRefused = errors.New("the console's token (CONSOLE_TOKEN_FILE) is not accepted")

func (s *service) newList(t target, subject string) *list {
	return &list{service: s, target: t, subject: subject, names: map[int32]string{}}
}

// watchLists reads both lists, once a second.
func (s *service) watchLists(ctx context.Context) {
	platforms, commands := s.newList(s.platforms[0], "list/platforms"), s.newList(s.commands[0], "list/commands")
	for {
		s.readList(ctx, platforms)
		s.readList(ctx, commands)
		if s.cfg.Stage == "final" {
			if err := commands.fillIn(ctx, platforms); err != nil && ctx.Err() == nil {
				s.log.DebugContext(ctx, "list not read", "list", commands.subject, "error", err)
			}
		}
		s.journey.unseen(time.Now())
		if backoff.PauseFor(ctx, time.Second) != nil {
			return
		}
	}
}

// readList reads what is new in a list, and says how it has changed.
func (s *service) readList(ctx context.Context, l *list) {
	var err error
	switch failed := s.parts.failures(l.target.part); {
	case s.cfg.Stage != "final":
		err = l.readWhole(ctx)
	case l.failed != failed: // it may have other data now
		if err = l.readPages(ctx, 0, true); err == nil {
			l.failed = failed
		}
	default:
		err = l.readPages(ctx, l.last, false)
	}
	if err != nil && ctx.Err() == nil {
		level := slog.LevelDebug // a service that is down is known by its probe
		if errors.Is(err, errRefused) && !l.refused {
			l.refused, level = true, slog.LevelWarn // once
		}
		s.log.Log(ctx, level, "list not read", "list", l.subject, "error", err)
	}
	if err == nil {
		l.refused = false
	}
}

// fillIn reads a page of this list at an id that the other has and this one has not.
// CommandsService may store its events in any order, and so behind the last id. Each
// time it is another page.
func (l *list) fillIn(ctx context.Context, other *list) error {
	var missing []int32
	for id := range other.names {
		if _, ok := l.names[id]; !ok && id <= l.last && id >= l.lowest {
			missing = append(missing, id)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	slices.Sort(missing)
	next, _ := slices.BinarySearch(missing, l.filled+1)
	id := missing[next%len(missing)]
	items, err := l.read(ctx, fmt.Sprintf("?limit=%d&after=%d", listLimit, id-1), maxList)
	if err != nil {
		return err
	}
	l.filled = id
	if len(items) > 0 {
		l.filled = max(id, items[len(items)-1].ID)
	}
	l.add(items, nil)
	return nil
}

// readWhole reads a list that has no pages.
func (l *list) readWhole(ctx context.Context) error {
	items, err := l.read(ctx, "", maxList)
	if err != nil {
		return err
	}
	l.replace(items)
	return nil
}

// readPages reads some pages after an id. From the beginning, restart says, what
// isn't there any more is removed.
func (l *list) readPages(ctx context.Context, after int32, restart bool) error {
	var all []item
	for range listPages {
		items, err := l.read(ctx, fmt.Sprintf("?limit=%d&after=%d", listLimit, after), maxList)
		if err != nil {
			return err
		}
		if all = append(all, items...); len(items) < listLimit {
			if restart {
				l.replace(all)
			} else {
				l.add(all, nil)
			}
			l.whole = true
			return nil
		}
		after = items[len(items)-1].ID
	}
	l.add(all, nil) // and the next second reads on
	return nil
}

func (l *list) read(ctx context.Context, query string, limit int64) ([]item, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	status, body, err := l.service.get(ctx, l.target.url+listPath(l.target.part)+query, limit)
	if err != nil {
		return nil, err
	}
	switch status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("%w: status %d", errRefused, status)
	default:
		return nil, fmt.Errorf("status %d", status)
	}
	var items []item
	if err := json.Unmarshal(body, &items); err != nil {
		return nil, fmt.Errorf("decode the list: %w", err)
	}
	return items, nil
}

// replace makes items the whole list.
func (l *list) replace(items []item) {
	ids := map[int32]bool{}
	for _, i := range items {
		ids[i.ID] = true
	}
	var removed []int32
	for _, id := range slices.Sorted(maps.Keys(l.names)) {
		if !ids[id] {
			removed = append(removed, id)
			delete(l.names, id)
		}
	}
	l.forgotten, l.last, l.lowest = 0, 0, 0
	l.add(items, removed)
	l.whole = true
}

// add adds what is new among items, and says so with what was removed.
func (l *list) add(items []item, removed []int32) {
	var added []item
	for _, i := range items {
		l.last = max(l.last, i.ID)
		i.Name = short(i.Name)
		if name, known := l.names[i.ID]; known && name == i.Name || i.ID < l.lowest {
			continue
		}
		l.names[i.ID] = i.Name
		added = append(added, i)
	}
	l.forget()
	total := l.forgotten + len(l.names)
	for first := true; first && len(removed) > 0 || len(added) > 0; first = false {
		n := min(len(added), listLimit)
		l.service.feed.add(time.Now(), "list", l.subject, listContent{Added: append([]item{}, added[:n]...), Removed: removed, Total: total - len(added) + n})
		if l.whole {
			l.service.journey.listed(l.target.part, added[:n])
		}
		added, removed = added[n:], nil
	}
}

// forget forgets the lowest ids: a million of them would not fit into the memory.
func (l *list) forget() {
	if len(l.names) <= listTracked {
		return
	}
	ids := slices.Sorted(maps.Keys(l.names))
	for _, id := range ids[:len(ids)-listTracked/2] {
		delete(l.names, id)
	}
	l.lowest = ids[len(ids)-listTracked/2]
	l.forgotten += len(ids) - listTracked/2
}
