package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// watchedStage is a real stage that lab run has started with the console.
type watchedStage struct {
	t                            *testing.T
	console, platforms, commands string // addresses
	said                         *syncBuffer
	probes                       int // created
}

// runWatched starts a stage with a private broker, and stops it with the test:
// then nothing of it is left.
func runWatched(t *testing.T, args ...string) *watchedStage {
	t.Helper()
	root, err := repo.Root()
	if err != nil {
		t.Fatal(err)
	}
	stages, err := repo.Stages(root)
	if err != nil {
		t.Fatal(err)
	}
	w := &watchedStage{t: t, said: &syncBuffer{}}
	for name, address := range map[string]*string{
		"CONSOLE_HTTP_ADDR": &w.console, "PLATFORMS_HTTP_ADDR": &w.platforms, "COMMANDS_HTTP_ADDR": &w.commands, "PLATFORMS_GRPC_ADDR": nil, "API_PAGE_ADDR": nil,
	} {
		free := someFreeAddress()
		t.Setenv(name, free)
		if address != nil {
			*address = free
		}
	}
	for _, name := range []string{"RABBITMQ_URL", "COMMANDS_SERVICE_URL", "DATABASE_URL", "COMMANDS_DATABASE_URL"} {
		t.Setenv(name, "") // restores it at the end
		os.Unsetenv(name)
	}
	l := &lab{root: root, stages: stages, out: w.said, err: w.said}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- l.do(ctx, append([]string{"run"}, args...)...) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("lab run: %v", err)
		}
		for _, address := range []string{w.console, w.platforms, w.commands} {
			if err := portFree(context.Background(), address); err != nil {
				t.Errorf("a process is left: %v", err)
			}
		}
		if t.Failed() {
			t.Log(w.said)
		}
	})
	w.within(20*time.Minute, "the stage to be up", func() bool { // it is compiled first
		if len(ended) > 0 {
			t.Fatalf("lab run has ended:\n%s", w.said)
		}
		return strings.Contains(w.said.String(), " is up:")
	})
	return w
}

func (w *watchedStage) eventually(what string, condition func() bool) {
	w.t.Helper()
	w.within(2*time.Minute, what, condition)
}

func (w *watchedStage) within(limit time.Duration, what string, condition func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			w.t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}

// send sends a request, and returns the status, 0 when there is no response.
func (w *watchedStage) send(method, url, body string) (status int, text string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
		request.Header.Set("X-Microcomm-Control", "1")
		request.Header.Set("Origin", "http://"+w.console)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	all, _ := io.ReadAll(response.Body) // cut off, it lacks what is looked for
	return response.StatusCode, string(all)
}

// create creates a platform, and expects it to be accepted.
func (w *watchedStage) create(name string) {
	w.t.Helper()
	status, body := w.send("POST", w.platforms+"/api/platforms", fmt.Sprintf(`{"name":%q,"publisher":"p","cost":"Free"}`, name))
	if status != http.StatusCreated {
		w.t.Fatalf("POST %s: %d %s", name, status, body)
	}
}

// arrived reports whether CommandsService lists the platform.
func (w *watchedStage) arrived(name string) bool {
	_, body := w.send("GET", w.commands+"/api/c/platforms", "")
	return strings.Contains(body, fmt.Sprintf("%q", name))
}

// flows creates platforms until one arrives: events that are sent before the
// subscriber is back are lost in 06.
func (w *watchedStage) flows() {
	w.t.Helper()
	first := w.probes
	probe := func(i int) string { return fmt.Sprintf("probe-%d", i) }
	w.eventually("a platform to arrive", func() bool {
		for i := first; i < w.probes; i++ {
			if w.arrived(probe(i)) {
				return true
			}
		}
		w.create(probe(w.probes))
		w.probes++
		return false
	})
}

// fault asks for one as the page does.
func (w *watchedStage) fault(action, part string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"action":%q,"part":%q,"predicted":1}`, action, part)
	if status, text := w.send("POST", w.console+"/control/faults", body); status != http.StatusAccepted {
		w.t.Fatalf("%s: %d %s", body, status, text)
	}
}

// fed waits for a line of the feed with that subject whose content has all of the
// given fields, and that comes after the lines fed returned before.
func (w *watchedStage) fed(after int, subject string, fields ...string) (seq int) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("%s with %v in the feed", subject, fields), func() bool {
		_, body := w.send("GET", w.console+"/feed?format=ndjson", "")
		for lines := bufio.NewScanner(strings.NewReader(body)); lines.Scan(); {
			var l struct {
				Seq     int
				Subject string
				Content json.RawMessage
			}
			if json.Unmarshal(lines.Bytes(), &l) == nil && l.Seq > after && l.Subject == subject && containsAll(string(l.Content), fields) {
				seq = l.Seq
				return true
			}
		}
		return false
	})
	return seq
}

func containsAll(text string, parts []string) bool {
	for _, part := range parts {
		if !strings.Contains(text, part) {
			return false
		}
	}
	return true
}

// breaks causes a fault of a part, creates a platform meanwhile, repairs the part,
// and waits until the feed has said so and platforms arrive again.
func (w *watchedStage) breaks(action, part, state, repair, name string) {
	w.t.Helper()
	w.fault(action, part)
	at := w.fed(0, "part/"+part, `"state":"`+state+`"`)
	w.fed(0, "part/"+part, `"action":"`+action+`"`, `"state":"begun"`, `"predicted":1`)
	if name != "" {
		w.create(name)
	}
	w.fault(repair, part)
	w.fed(at, "part/"+part, `"state":"up"`)
	w.fed(at, "part/"+part, `"action":"`+action+`"`, `"state":"ended"`)
	w.flows()
}

func TestConsoleBeside02(t *testing.T) {
	w := runWatched(t, "02", "--console")
	w.create("first")
	w.fed(0, "list/commands", `"first"`)
	w.breaks("kill", "commandsservice", "down", "start", "lost")
	w.breaks("pause", "commandsservice", "paused", "resume", "")
	w.breaks("kill", "platformservice", "down", "start", "")
	if w.arrived("lost") {
		t.Error("what was created while CommandsService was down has arrived")
	}
	w.breaks("slow", "commandsservice", "up", "resume", "late")
	if !w.arrived("late") {
		t.Error("the response of a POST doesn't wait for a slow CommandsService")
	}
}

func TestConsoleBeside06(t *testing.T) {
	w := runWatched(t, "06", "--console")
	w.flows() // once the broker has both
	w.fed(0, "list/commands", `"probe-`)
	w.breaks("kill", "commandsservice", "down", "start", "lost with the queue")
	w.breaks("kill", "broker", "down", "start", "lost without a broker")
	w.breaks("pause", "commandsservice", "paused", "resume", "waiting")
	w.eventually("what waited to arrive", func() bool { return w.arrived("waiting") })
	w.breaks("pause", "platformservice", "paused", "resume", "")
	w.breaks("slow", "commandsservice", "up", "resume", "late")
	w.fault("poison", "exchange")
	w.fed(0, "part/exchange", `"action":"poison"`, `"state":"ended"`)
	w.flows()
	for _, name := range []string{"lost with the queue", "lost without a broker"} {
		if w.arrived(name) {
			t.Errorf("%q has arrived", name)
		}
	}
}

func TestConsoleBeside07(t *testing.T) {
	w := runWatched(t, "07", "--console")
	w.fed(0, "list/commands", `"Kubernetes"`) // backfilled
	w.breaks("kill", "commandsservice", "down", "start", "while it was down")
	w.eventually("the backfill to bring what was missed", func() bool { return w.arrived("while it was down") })
}

func TestConsoleBesideFinal(t *testing.T) {
	w := runWatched(t, "final", "--broker")
	w.create("first")
	w.fed(0, "platform/4", `"hop":"stored"`)
	for _, fault := range []struct{ action, part, state, repair, name string }{
		{"kill", "commandsservice", "down", "start", "while CommandsService was down"},
		{"kill", "broker", "down", "start", "while the broker was down"},
		{"pause", "commandsservice", "paused", "resume", "while CommandsService was paused"},
		{"slow", "commandsservice", "up", "resume", "while CommandsService was slow"},
		{"kill", "platformservice", "down", "start", ""},
	} {
		w.breaks(fault.action, fault.part, fault.state, fault.repair, fault.name)
		w.eventually("everything accepted to arrive", func() bool { return fault.name == "" || w.arrived(fault.name) })
	}
	w.fault("poison", "exchange")
	at := w.fed(0, "queue/commands.platforms.dead", `"depth":1`)
	w.fault("replay", "dead-letters")
	w.fed(at, "part/dead-letters", `"action":"replay"`, `"state":"ended"`, `"detail":"1 replayed"`)
	w.eventually("the message to be dead again", func() bool {
		w.fault("drop", "dead-letters")
		at = w.fed(at, "part/dead-letters", `"action":"drop"`, `"state":"ended"`)
		_, body := w.send("GET", w.console+"/feed?format=ndjson", "")
		return strings.Contains(body, `"detail":"1 dropped"`)
	})
	w.eventually("the queue to be empty", func() bool { // the console may see that before the end of the order is said
		_, body := w.send("GET", w.console+"/feed?format=ndjson", "")
		last := strings.LastIndex(body, `"queue/commands.platforms.dead"`)
		line, _, _ := strings.Cut(body[max(0, last):], "\n")
		return strings.Contains(line, `"depth":0`)
	})
}
