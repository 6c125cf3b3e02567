package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// directPlatform is the id of the first platform that is posted to CommandsService
// directly. PlatformService's ids stay far below it.
const directPlatform = 1_000_000_000

// commandsLoad is a number of clients that post to CommandsService directly: inbound
// platforms, and commands for the first of them.
type commandsLoad struct {
	url     string
	http    *http.Client
	ending  context.CancelFunc
	clients sync.WaitGroup

	mu     sync.Mutex
	begun  int
	writes []directWrite
}

// directWrite is one POST, and its response.
type directWrite struct {
	command    bool   // false: an inbound platform
	name       string // the platform's name, or the command's howTo
	id         int32  // of the platform, or of the command in the response
	status     int    // 0: no response
	retryAfter bool
}

// accepted reports whether the response says that it was stored.
func (w directWrite) accepted() bool {
	return w.command && w.status == http.StatusCreated || !w.command && w.status == http.StatusOK
}

// startCommandsLoad posts the first platform, and starts the clients. The caller must
// call stop.
func startCommandsLoad(ctx context.Context, url string, b *bearer) (*commandsLoad, error) {
	const clients = 4
	sending, ending := context.WithCancel(ctx)
	l := &commandsLoad{url: url, ending: ending,
		http: &http.Client{Timeout: postTimeout, Transport: authorized{&http.Transport{MaxIdleConnsPerHost: clients}, b}}}
	if first := l.platform(ctx); !first.accepted() {
		ending()
		return nil, fmt.Errorf("POST %s: status %d", commandsPath, first.status)
	}
	for range clients {
		l.clients.Go(func() {
			tick := time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
			for {
				l.command(ctx)
				l.platform(ctx)
				select {
				case <-tick.C:
				case <-sending.Done():
					return
				}
			}
		})
	}
	return l, nil
}

// stop waits for the requests in progress, and returns every POST.
func (l *commandsLoad) stop() []directWrite {
	l.ending()
	l.clients.Wait()
	l.http.CloseIdleConnections()
	return l.soFar()
}

// soFar returns the POSTs that have ended.
func (l *commandsLoad) soFar() []directWrite {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]directWrite(nil), l.writes...)
}

func (l *commandsLoad) platform(ctx context.Context) directWrite {
	n := l.next()
	w := directWrite{name: fmt.Sprintf("direct-%06d", n), id: directPlatform + int32(n)}
	l.post(ctx, commandsPath, "", map[string]any{"id": w.id, "name": w.name}, &w)
	return w
}

// command posts a command. Every other one has an Idempotency-Key, which takes another
// path through the store.
func (l *commandsLoad) command(ctx context.Context) {
	n := l.next()
	w := directWrite{command: true, name: fmt.Sprintf("direct-%06d", n)}
	key := ""
	if n%2 == 0 {
		key = w.name
	}
	l.post(ctx, directCommands(), key, map[string]any{"howTo": w.name, "commandLine": "make"}, &w)
}

// directCommands are the commands of the first platform.
func directCommands() string { return fmt.Sprintf("%s/%d/commands", commandsPath, directPlatform) }

// next numbers the POSTs, from 0 on.
func (l *commandsLoad) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun++
	return l.begun - 1
}

// post sends w once, and records the outcome.
func (l *commandsLoad) post(ctx context.Context, path, key string, body map[string]any, w *directWrite) {
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.writes = append(l.writes, *w)
	}()
	text, err := json.Marshal(body)
	if err != nil {
		return
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.url+path, bytes.NewReader(text))
	if err != nil {
		return
	}
	request.Header.Set("Content-Type", "application/json")
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	response, err := l.http.Do(request)
	if err != nil {
		return
	}
	defer response.Body.Close()
	w.status, w.retryAfter = response.StatusCode, response.Header.Get("Retry-After") != ""
	if !w.command {
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, responseSize))
		return
	}
	var created struct {
		ID int32 `json:"id"`
	}
	if json.NewDecoder(io.LimitReader(response.Body, responseSize)).Decode(&created) == nil {
		w.id = created.ID
	}
}

// directVerdict is the verdict on the direct writes.
type directVerdict struct {
	commands, platforms int // accepted
	refused             int // 503 with Retry-After
	failed              int // any other response, or none
	missing             int // accepted, and not stored under its id
	repeated            int // accepted under an id that another one has too
	phantom             int // refused, and stored anyway
}

// judgeDirect compares the writes with CommandsService's lists: the names of its
// platforms and of the commands, by their ids.
func judgeDirect(writes []directWrite, platforms, commands map[int32]string) directVerdict {
	var v directVerdict
	given := map[int32]bool{} // ids of commands
	names := map[bool]map[string]bool{true: {}, false: {}}
	for _, name := range platforms {
		names[false][name] = true
	}
	for _, name := range commands {
		names[true][name] = true
	}
	for _, w := range writes {
		switch {
		case w.accepted() && w.command:
			v.commands++
			if given[w.id] {
				v.repeated++
			}
			given[w.id] = true
			if commands[w.id] != w.name {
				v.missing++
			}
		case w.accepted():
			v.platforms++
			if platforms[w.id] != w.name {
				v.missing++
			}
		default:
			if w.status == http.StatusServiceUnavailable && w.retryAfter {
				v.refused++
			} else {
				v.failed++
			}
			if w.status != 0 && names[w.command][w.name] {
				v.phantom++
			}
		}
	}
	return v
}

// expectDirect ends the load when both kinds of POSTs have been accepted again after the
// repair: all but the first repaired. It expects everything that CommandsService accepted
// to be stored.
func (r *run) expectDirect(l *commandsLoad, repaired int) {
	r.expectWithin(startTimeout, "CommandsService to accept both again", func(context.Context) error {
		since := judgeDirect(l.soFar()[repaired:], nil, nil)
		if since.commands == 0 || since.platforms == 0 {
			return fmt.Errorf("%d commands, %d platforms", since.commands, since.platforms)
		}
		return nil
	})
	writes := l.stop()
	for _, w := range writes {
		r.ignore[w.name] = true // they do not belong to the load on PlatformService
	}
	platforms, commands := map[int32]string{}, map[int32]string{}
	for _, p := range get(r.client.list(r.ctx, r.commands, commandsPath)) {
		platforms[p.ID] = p.Name
	}
	var stored []struct {
		ID    int32  `json:"id"`
		HowTo string `json:"howTo"`
	}
	must(r.client.get(r.ctx, r.commands[0].url+directCommands(), func(body io.Reader) error {
		return json.NewDecoder(body).Decode(&stored)
	}))
	for _, c := range stored {
		commands[c.ID] = c.HowTo
	}
	v := judgeDirect(writes, platforms, commands)
	r.expect("each command and inbound platform that was accepted to be stored, under its own id", v.commands > 0 && v.platforms > 0 && v.missing+v.repeated == 0,
		"%d commands, %d platforms; %d missing, %d with the id of another", v.commands, v.platforms, v.missing, v.repeated)
	r.expect("none that was refused to be stored", v.phantom == 0, "%d", v.phantom)
	r.expect("503 with Retry-After from CommandsService, and nothing else but 201 and 200", v.refused > 0 && v.failed == 0,
		"%d of them, %d other failures", v.refused, v.failed)
}
