package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// How long a client waits for one response, and how long, with keys, it retries a POST
// whose outcome is unknown.
const (
	postTimeout  = 30 * time.Second // longer than a service ever needs: 10 s for its turn, and 5 s for a lock
	retryFor     = time.Minute
	retryPause   = 100 * time.Millisecond
	responseSize = 64 << 10
)

// loadConfig describes a load.
type loadConfig struct {
	prefix  string   // of every name, so that no two loads use the same one
	targets []string // the base URLs of PlatformService's replicas
	clients int
	rate    float64 // POSTs a second, of all clients together; 0: as fast as responses come
	total   int     // POSTs in all; 0: until stop
	keys    bool    // retry POSTs of unknown outcome, with an Idempotency-Key

	balanced bool // another replica gets what one refuses while it starts or stops (503), as behind a load balancer

	bearer *bearer // of each POST; nil: none
}

// load is a number of clients that POST platforms, and the history of their POSTs.
type load struct {
	cfg     loadConfig
	http    *http.Client
	ending  context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex
	begun int // POSTs handed to clients
	posts []post
}

// startLoad starts the clients. The caller must call stop.
func startLoad(ctx context.Context, cfg loadConfig) *load {
	sending, ending := context.WithCancel(ctx)
	l := &load{
		cfg: cfg,
		http: &http.Client{Transport: authorized{&http.Transport{
			Proxy:               nil, // the targets are loopback addresses, whatever the environment says
			MaxIdleConnsPerHost: cfg.clients,
		}, cfg.bearer}},
		ending: ending,
	}
	for i := range cfg.clients {
		l.clients.Go(func() { l.client(ctx, sending, i) })
	}
	return l
}

// stop begins no new POST and waits for those in progress, retries included.
func (l *load) stop() {
	l.ending()
	l.wait()
}

// wait waits until the clients have made cfg.total POSTs.
func (l *load) wait() {
	l.clients.Wait()
	l.http.CloseIdleConnections()
}

// history returns the POSTs that have ended.
func (l *load) history() []post {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]post(nil), l.posts...)
}

// client posts until sending ends. Only the end of ctx cuts a request in progress.
func (l *load) client(ctx, sending context.Context, number int) {
	var tick <-chan time.Time
	if l.cfg.rate > 0 {
		interval := time.Duration(float64(l.cfg.clients) / l.cfg.rate * float64(time.Second))
		// The clients start one after the other, not all at once.
		first := time.NewTimer(interval * time.Duration(number) / time.Duration(l.cfg.clients))
		defer first.Stop()
		select {
		case <-first.C:
		case <-sending.Done():
			return
		}
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		tick = ticker.C
	}
	target := number
	for {
		name, ok := l.nextName()
		if !ok {
			return
		}
		p := l.post(ctx, name, &target)
		l.mu.Lock()
		l.posts = append(l.posts, p)
		l.mu.Unlock()
		if tick != nil {
			select {
			case <-tick:
			case <-sending.Done():
			}
		}
		if sending.Err() != nil {
			return
		}
	}
}

func (l *load) nextName() (string, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cfg.total > 0 && l.begun == l.cfg.total {
		return "", false
	}
	l.begun++
	return fmt.Sprintf("%s-%06d", l.cfg.prefix, l.begun), true
}

// post makes one POST and, with keys or balanced, retries until its outcome is known.
// After a target that does not respond it uses the next one.
func (l *load) post(ctx context.Context, name string, target *int) post {
	p := post{name: name, begun: time.Now()}
	giveUp := p.begun.Add(retryFor)
	for {
		l.attempt(ctx, &p, l.cfg.targets[*target%len(l.cfg.targets)])
		elsewhere := l.cfg.balanced && p.status == http.StatusServiceUnavailable
		if p.status == 0 || elsewhere {
			*target++
		}
		if p.attempts > 1 && p.outcome == refused {
			p.outcome = unknown // this attempt was refused, but the first may have succeeded
		}
		if again := elsewhere || p.outcome == unknown && l.cfg.keys; !again || time.Now().After(giveUp) {
			return p
		}
		pause := time.NewTimer(retryPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return p
		}
	}
}

// attempt sends p once and records the outcome.
func (l *load) attempt(ctx context.Context, p *post, target string) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	p.attempts++
	p.outcome, p.status, p.retryAfter, p.err = unknown, 0, false, nil
	p.sent = time.Now()
	defer func() { p.done = time.Now() }()
	request, err := newPost(ctx, target, p.name)
	if err != nil {
		return
	}
	if l.cfg.keys {
		request.Header.Set("Idempotency-Key", p.name)
	}
	response, err := l.http.Do(request)
	if err != nil {
		var dial *net.OpError
		if !errors.As(err, &dial) || dial.Op != "dial" {
			p.cutOff++
		}
		p.err = err
		return
	}
	defer response.Body.Close()
	// A connection is reused only if its response was read to the end. The status is
	// known by now, so an error here changes nothing.
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, responseSize))
	p.status = response.StatusCode
	p.retryAfter = response.Header.Get("Retry-After") != ""
	p.outcome = outcomeOf(p.status)
}

func newPost(ctx context.Context, target, name string) (*http.Request, error) {
	body, err := json.Marshal(map[string]string{"name": name, "publisher": "drill", "cost": "Free"})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target+"/api/platforms", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	return request, nil
}

// outcomeOf is what a status says about the platform. A 500 is ambiguous: the service
// may have failed after storing the platform.
func outcomeOf(status int) outcome {
	switch {
	case status == http.StatusCreated:
		return accepted
	case status >= 400 && status < 500, status == http.StatusServiceUnavailable:
		return refused
	}
	return unknown
}
