package main

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/badnet"
	"microcomm/docs/tools/internal/feed"
	"microcomm/docs/tools/internal/process"
)

// control breaks and repairs the services of lab run. It serves the console alone,
// which knows the secret, on loopback.
type control struct {
	console *console
	feed    *feed.Feed
	lines   chan feed.Line // to post
	offers  []offer

	ctx     context.Context // ends with the services
	running sync.WaitGroup

	mu    sync.Mutex
	parts []*part
	slow  bool // CommandsService, or rather the network before it
}

// part is a process that can be broken.
type part struct {
	id      string // in the envelope
	service *service
	state   string // starting, up, paused or down
}

// fault is what the console asks for.
type fault struct {
	Action    string `json:"action"`
	Part      string `json:"part"`
	Predicted *int   `json:"predicted,omitempty"` // platforms that go missing
}

// offer is a fault that the console can ask for.
type offer struct {
	Action string `json:"action"`
	Part   string `json:"part"`
	Title  string `json:"title"`
}

// The states of a part, in the envelope.
const (
	starting = "starting"
	up       = "up"
	paused   = "paused"
	down     = "down"
)

// The states of a fault, in the envelope.
const (
	begun   = "begun"
	ended   = "ended"
	refused = "refused"
)

// The errors for a fault that is not offered, and for one that the state of its
// part excludes.
var (
	errUnknownFault = errors.New("no such fault")
	errNotNow       = errors.New("not now")
)

const (
	repairTimeout = 90 * time.Second // until a service that was started responds
	letterTimeout = 30 * time.Second // for what is done with messages
)

func newControl(c *console, address string) *control {
	k := &control{console: c, feed: feed.New(address, c.secret), lines: make(chan feed.Line, 1000)}
	add := func(action, part, title string) { k.offers = append(k.offers, offer{action, part, title}) }
	for _, s := range c.fleet.services {
		p := &part{id: s.binary, service: s, state: starting}
		title := s.title
		if s.node != nil {
			p.id, p.state, title = "broker", up, "the broker"
		}
		k.parts = append(k.parts, p)
		if s.node == nil && runtime.GOOS != "windows" {
			add("pause", p.id, "Pause "+title)
			add("resume", p.id, "Let "+title+" continue")
		}
		if p.id == "commandsservice" && c.network != nil {
			add("slow", p.id, "Slow "+title+" by 2 s")
		}
		add("kill", p.id, "Kill "+title)
		add("start", p.id, "Start "+title)
	}
	if c.poison != "" {
		add("poison", "exchange", "Send a message that isn't JSON")
	}
	if c.dlq != "" {
		add("replay", "dead-letters", "Replay the dead letters")
		add("drop", "dead-letters", "Drop the dead letters")
	}
	return k
}

// ServeHTTP implements http.Handler: GET lists the faults, POST asks for one.
func (k *control) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given := []byte(r.Header.Get("Authorization"))
	switch {
	case subtle.ConstantTimeCompare(given, []byte("Bearer "+k.console.secret)) != 1:
		refuse(w, http.StatusUnauthorized, "the secret is missing or wrong")
	case r.URL.Path != "/control/faults":
		refuse(w, http.StatusNotFound, "there is nothing here: try /control/faults")
	case r.Method == http.MethodGet:
		respond(w, http.StatusOK, "application/json", map[string]any{"faults": k.offers})
	case r.Method == http.MethodPost:
		var asked fault
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&asked); err != nil {
			refuse(w, http.StatusBadRequest, "the body is not a fault: "+err.Error())
			return
		}
		switch state, err := k.do(asked); {
		case errors.Is(err, errUnknownFault):
			refuse(w, http.StatusBadRequest, err.Error())
		case err != nil:
			k.say(asked, refused, err.Error())
			refuse(w, http.StatusConflict, err.Error())
		default:
			respond(w, http.StatusAccepted, "application/json", map[string]string{"action": asked.Action, "part": asked.Part, "state": state})
		}
	default:
		w.Header().Set("Allow", "GET, POST")
		refuse(w, http.StatusMethodNotAllowed, "only GET and POST")
	}
}

func refuse(w http.ResponseWriter, status int, detail string) {
	respond(w, status, "application/problem+json", map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
}

func respond(w http.ResponseWriter, status int, contentType string, body any) {
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the console may have gone
}

// do causes or ends a fault, and returns its state.
func (k *control) do(asked fault) (string, error) {
	if !slices.ContainsFunc(k.offers, func(o offer) bool { return o.Action == asked.Action && o.Part == asked.Part }) {
		return "", fmt.Errorf("%w: %s of %s", errUnknownFault, asked.Action, asked.Part)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ctx.Err() != nil {
		return "", fmt.Errorf("%w: lab run is ending", errNotNow)
	}
	at := slices.IndexFunc(k.parts, func(p *part) bool { return p.id == asked.Part })
	if at < 0 { // it's about messages
		k.say(asked, begun, "")
		k.running.Go(func() { k.handle(asked) })
		return begun, nil
	}
	p := k.parts[at]
	switch {
	case asked.Action == "pause" && p.state == up:
		return begun, k.cause(asked, p, paused, p.service.process.Suspend)
	case asked.Action == "slow" && p.state == up && !k.slow:
		return begun, k.cause(asked, p, up, func() error { k.setSlow(true); return nil })
	case asked.Action == "kill" && (p.state == up || p.state == paused):
		if p.state == paused {
			k.say(fault{Action: "pause", Part: p.id}, ended, "")
		}
		return begun, k.cause(asked, p, down, func() error { k.console.fleet.kill(p.service); return nil })
	case asked.Action == "resume" && p.state == paused:
		return ended, k.end("pause", p, p.service.process.Resume)
	case asked.Action == "resume" && p.state == up && k.slowed(p):
		return ended, k.end("slow", p, func() error { k.setSlow(false); return nil })
	case asked.Action == "start" && p.state == down:
		k.set(p, starting)
		k.running.Go(func() { k.start(p) })
		return begun, nil
	}
	return "", fmt.Errorf("%w: %s is %s", errNotNow, p.id, p.state)
}

// cause does what a fault is, and says so. The caller holds the lock.
func (k *control) cause(asked fault, p *part, state string, do func() error) error {
	if err := do(); err != nil {
		return fmt.Errorf("%s %s: %w", asked.Action, p.id, err)
	}
	k.say(asked, begun, "")
	k.set(p, state)
	return nil
}

// end ends a fault, and says so. The caller holds the lock.
func (k *control) end(action string, p *part, do func() error) error {
	if err := do(); err != nil {
		return fmt.Errorf("end %s of %s: %w", action, p.id, err)
	}
	k.set(p, up)
	k.say(fault{Action: action, Part: p.id}, ended, "")
	return nil
}

// start starts a part that was killed, and waits until it responds.
func (k *control) start(p *part) {
	f := k.console.fleet
	ctx, cancel := context.WithTimeout(k.ctx, repairTimeout)
	defer cancel()
	err := f.start(ctx, p.service)
	if err == nil {
		err = f.waitForServices(ctx, []*service{p.service})
	}
	if err == nil {
		err = f.note() // for lab pause: it has another process
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if err != nil {
		f.kill(p.service)
		k.set(p, down)
		k.say(fault{Action: "start", Part: p.id}, refused, err.Error())
		return
	}
	_ = k.end("kill", p, func() error { return nil })
}

// handle does what is asked with messages, by a program.
func (k *control) handle(asked fault) {
	c := k.console
	ctx, cancel := context.WithTimeout(k.ctx, letterTimeout)
	defer cancel()
	run := func(args ...string) (string, error) {
		out, err := process.Output(ctx, process.Command{Args: args, Env: c.fleet.env})
		return strings.TrimSpace(out), err
	}
	var detail string
	var err error
	switch asked.Action {
	case "poison":
		_, err = run(c.poison, c.exchange())
	case "replay":
		detail, err = run(c.dlq, "replay", "all")
	case "drop": // dlq drops one at a time, so that none is dropped unseen
		dropped := 0
		for ; err == nil; dropped++ {
			_, err = run(c.dlq, "drop", "@1")
		}
		detail = fmt.Sprintf("%d dropped", dropped-1)
		if strings.Contains(err.Error(), "no dead letter @1") {
			err = nil
		}
	}
	if err != nil {
		k.say(asked, refused, err.Error())
		return
	}
	k.say(asked, ended, detail)
}

// leave calls cancel, after which do begins nothing.
func (k *control) leave(cancel func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	cancel()
}

// ready says that all parts are up.
func (k *control) ready() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.parts {
		k.set(p, up)
	}
}

// report says how each part is.
func (k *control) report() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.parts {
		k.set(p, p.state)
	}
}

// set changes the state of a part, and says so. The caller holds the lock.
func (k *control) set(p *part, state string) {
	p.state = state
	detail := ""
	if k.slowed(p) && state == up {
		detail = "slow by 2 s"
	}
	k.tell(feed.Part(p.id, state, detail))
}

func (k *control) slowed(p *part) bool { return k.slow && p.id == "commandsservice" }

func (k *control) setSlow(slow bool) {
	k.slow = slow
	state := badnet.State{}
	if slow {
		state.DelayBack = 2 * time.Second
	}
	k.console.network.Set(state)
}

// say says what has become of a fault.
func (k *control) say(f fault, state, detail string) {
	k.tell(feed.Fault{Action: f.Action, State: state, Predicted: f.Predicted, Detail: detail}.Of(f.Part))
}

// tell adds a line for the console, unless a thousand are waiting.
func (k *control) tell(l feed.Line) {
	select {
	case k.lines <- l:
	default:
	}
}

// post posts the lines, in order, until ctx ends.
func (k *control) post(ctx context.Context) {
	defer k.feed.Close()
	for {
		select {
		case l := <-k.lines:
			if err := k.feed.Post(ctx, l); err != nil && ctx.Err() == nil {
				fmt.Fprintln(k.console.fleet.lab.err, "lab:", err)
			}
		case <-ctx.Done():
			return
		}
	}
}
