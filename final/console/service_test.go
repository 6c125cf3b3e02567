package console

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"microcomm/final/commandsservice"
	"microcomm/final/internal/bus"
	"microcomm/final/internal/requestid"
	"microcomm/final/internal/telemetry"
	"microcomm/final/internal/testkit"
	"microcomm/final/platformservice"
)

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

// patience bounds a wait for what must happen. It is longer than testkit's: a broker and a
// browser have much to do.
const patience = 2 * time.Minute

// eventually waits until condition is true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for hopeless := time.After(patience); !condition(); {
		select {
		case <-ticker.C:
		case <-hopeless:
			require.FailNow(t, "timed out waiting for: "+what)
		}
	}
}

// listen returns a listener on a free port.
func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return listener
}

// start runs something until the test ends, or stop is called.
func start(t *testing.T, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.NoError(t, testkit.Receive(t, "the end", ended))
	})
	t.Cleanup(stop)
	return stop
}

// startConsole runs a console with these settings, and returns its URL.
func startConsole(t *testing.T, settings map[string]string, parts Parts) (url string, stop func()) {
	t.Helper()
	cfg, err := ConfigFromEnv(env(settings))
	require.NoError(t, err)
	log, _ := testkit.CaptureLog()
	if parts.HTTPListener == nil {
		parts.HTTPListener = listen(t)
	}
	stop = start(t, func(ctx context.Context) error { return Run(ctx, cfg, parts, log) })
	url = "http://" + parts.HTTPListener.Addr().String()
	eventually(t, "ready", func() bool { return testkit.Send(t, "GET", url+"/readyz", "").Status == http200 })
	return url, stop
}

// watched is a system whose spans a console gets.
type watched struct {
	platforms, commands         string // URLs
	stopPlatforms, stopCommands func()
}

// startServices runs both services over a bus, with the tracers of the service of a name.
func startServices(t *testing.T, publisher bus.Publisher, subscriber bus.Subscriber, settings map[string]string, tracers func(name string) *sdktrace.TracerProvider) watched {
	t.Helper()
	grpc, http := listen(t), [2]net.Listener{listen(t), listen(t)}
	values := map[string]string{"PLATFORMS_GRPC_TARGET": grpc.Addr().String(), "SEED_DATA": "false"}
	maps.Copy(values, settings)
	platforms, err := platformservice.ConfigFromEnv(env(values))
	require.NoError(t, err)
	commands, err := commandsservice.ConfigFromEnv(env(values))
	require.NoError(t, err)
	log, _ := testkit.CaptureLog()
	w := watched{platforms: "http://" + http[0].Addr().String(), commands: "http://" + http[1].Addr().String()}
	w.stopCommands = start(t, func(ctx context.Context) error {
		return commandsservice.Run(ctx, commands, commandsservice.Parts{HTTPListener: http[1], Subscriber: subscriber, Tracers: tracers("commandsservice")}, log)
	})
	w.stopPlatforms = start(t, func(ctx context.Context) error {
		return platformservice.Run(ctx, platforms, platformservice.Parts{HTTPListener: http[0], GRPCListener: grpc, Publisher: publisher, Tracers: tracers("platformservice")}, log)
	})
	for _, url := range []string{w.platforms, w.commands} {
		eventually(t, "ready", func() bool { return testkit.Send(t, "GET", url+"/readyz", "").Status == http200 })
	}
	return w
}

const http200 = http.StatusOK

// received is a line as a reader sees it.
type received struct {
	ID      string `json:"-"`
	Version int    `json:"v"`
	Seq     uint64
	Time    time.Time
	Kind    string
	Subject string
	Content struct {
		Run, Stage, Hop, Name, Reason, From, Message, State, Detail, Role, Replica string
		Start                                                                      time.Time
		ID, Depth, Consumers, Attempt, Left, Total                                 int
		MS                                                                         float64
		Parts                                                                      []part
		Faults                                                                     []map[string]string
		Added                                                                      []item
		Removed                                                                    []int
	}
}

// reader reads a feed.
type reader struct {
	t     *testing.T
	lines chan received
	ended chan struct{} // closed at the end of the stream
	close func()
}

// read reads the feed of the console at url, after the line that has this id.
func read(t *testing.T, url, lastID string) *reader {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(ctx, "GET", url+"/feed", nil)
	require.NoError(t, err)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	require.NoError(t, err)
	require.Equal(t, http200, response.StatusCode)
	require.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	r := &reader{t: t, lines: make(chan received, 100_000), ended: make(chan struct{})}
	r.close = sync.OnceFunc(func() {
		cancel()
		<-r.ended
		response.Body.Close()
	})
	t.Cleanup(r.close)
	go func() {
		defer close(r.ended)
		parse(t, response.Body, func(l received) (more bool) {
			r.lines <- l
			return true
		})
	}()
	return r
}

// until returns the lines up to the first for which found holds.
func (r *reader) until(what string, found func(received) bool) []received {
	r.t.Helper()
	var lines []received
	for {
		select {
		case l := <-r.lines:
			if lines = append(lines, l); found(l) {
				return lines
			}
		case <-time.After(patience):
			require.FailNow(r.t, "timed out waiting for: "+what, "%+v", lines)
		}
	}
}

// hop waits for a hop of a platform.
func (r *reader) hop(name, platform string) []received {
	r.t.Helper()
	return r.until("the hop "+name, func(l received) bool { return l.Content.Hop == name && l.Content.Name == platform })
}

// part waits until a part is in a state, and returns the line.
func (r *reader) part(id, state string) received {
	r.t.Helper()
	lines := r.until(id+" is "+state, func(l received) bool { return l.Subject == "part/"+id && l.Content.State == state })
	return lines[len(lines)-1]
}

// create sends a POST for a platform.
func create(t *testing.T, url, name string, header ...string) testkit.Response {
	t.Helper()
	body, err := json.Marshal(map[string]string{"name": name, "publisher": "p", "cost": "c"})
	require.NoError(t, err)
	return testkit.Send(t, "POST", url+"/api/platforms", string(body), header...)
}

// startOneProcess runs both services and a console, as cmd/microcomm does.
func startOneProcess(t *testing.T) (w watched, url string) {
	t.Helper()
	spans, events := NewSpans(), make(chan bus.Message, 100)
	tracers := func(name string) *sdktrace.TracerProvider {
		exporter, err := telemetry.ExporterFromEnv(env(nil))
		require.NoError(t, err)
		provider, stop, err := exporter.Start(t.Context(), name, "1", nil, spans.Options(false)...)
		require.NoError(t, err)
		t.Cleanup(stop)
		return provider.(*sdktrace.TracerProvider)
	}
	memory := &bus.Memory{Tracer: tracers("commandsservice").Tracer(""), Tap: events}
	w = startServices(t, memory, memory.Subscriber("commands"), nil, tracers)
	url, _ = startConsole(t, map[string]string{"PLATFORMS_URL": w.platforms, "COMMANDS_URL": w.commands}, Parts{Spans: spans, Events: events,
		Queues: func() []QueueState {
			return []QueueState{{Name: "commands", Role: "work", Consumers: memory.State("commands").Consumers}}
		}})
	return w, url
}

func TestOnePostIsAStoryOfHops(t *testing.T) {
	_, url := startOneProcess(t)
	feed := read(t, url, "")
	require.Equal(t, http.StatusCreated, create(t, url, "Docker").Status) // by the console: it forwards /api
	lines := feed.until("the story", func() func(received) bool {
		missing := []string{"accepted", "outbox", "relay", "confirmed", "published", "delivered", "stored", "acknowledged"}
		return func(l received) bool {
			missing = slices.DeleteFunc(missing, func(hop string) bool { return hop == l.Content.Hop && l.Content.From != "list" })
			return len(missing) == 0
		}
	}())

	assert.Equal(t, "run", lines[0].Kind)
	assert.Equal(t, "final", lines[0].Content.Stage)
	hops := slices.DeleteFunc(lines, func(l received) bool { return l.Kind != "hop" || l.Content.From == "list" }) // a list that is read late tells again
	slices.SortStableFunc(hops, func(a, b received) int { return a.Time.Compare(b.Time) })
	message := hops[0].Content.Message
	for _, h := range hops {
		if h.Content.ID == 0 { // the relay may be faster than the response, which tells the id
			assert.Equal(t, "message/"+message, h.Subject)
		} else {
			assert.Equal(t, fmt.Sprintf("platform/%d", h.Content.ID), h.Subject)
			assert.Equal(t, "Docker", h.Content.Name)
		}
		assert.Equal(t, message, h.Content.Message)
		assert.False(t, h.Content.Start.After(h.Time), "%s", h.Content.Hop)
	}
	// The places of the response, of the event and of the confirmation differ: the rest waits for none of them.
	for _, story := range [][]string{{"outbox", "relay", "confirmed"}, {"outbox", "relay", "delivered", "stored", "acknowledged"}} {
		var told []string
		for _, h := range hops {
			if slices.Contains(story, h.Content.Hop) {
				told = append(told, h.Content.Hop)
			}
		}
		assert.Equal(t, story, told)
	}
}

func TestListsSayWhatEachServiceHas(t *testing.T) {
	w, url := startOneProcess(t)
	require.Equal(t, http.StatusCreated, create(t, w.platforms, "Docker").Status)
	for _, list := range []string{"list/platforms", "list/commands"} {
		lines := read(t, url, "").until(list, func(l received) bool { return l.Subject == list && len(l.Content.Added) == 1 })
		last := lines[len(lines)-1]
		assert.Equal(t, "Docker", last.Content.Added[0].Name)
		assert.Equal(t, 1, last.Content.Total)
	}
}

func TestRepeatedKeyAndRefusalAreSaid(t *testing.T) {
	w, url := startOneProcess(t)
	feed := read(t, url, "")
	for range 2 {
		require.Equal(t, http.StatusCreated, create(t, w.platforms, "Docker", "Idempotency-Key", "1").Status)
	}
	feed.until("the repetition", func(l received) bool {
		return l.Content.Hop == "accepted" && strings.Contains(l.Content.Reason, "key was used before")
	})
	require.Equal(t, http.StatusBadRequest, create(t, w.platforms, " ").Status)
	lines := feed.until("the refusal", func(l received) bool { return l.Content.Hop == "refused" })
	assert.Equal(t, "400", lines[len(lines)-1].Content.Reason)
	assert.True(t, strings.HasPrefix(lines[len(lines)-1].Subject, "trace/"))
}

// parse calls each for the lines of a stream of server-sent events, until it returns
// false or the stream ends.
func parse(t *testing.T, stream io.Reader, each func(received) (more bool)) {
	var id, data string
	text := bufio.NewScanner(stream)
	text.Buffer(nil, 8<<20)
	for text.Scan() {
		if after, ok := strings.CutPrefix(text.Text(), "id: "); ok {
			id = after
		}
		if after, ok := strings.CutPrefix(text.Text(), "data: "); ok {
			data = after
		}
		if text.Text() != "" || data == "" { // it is not whole yet, or a comment
			continue
		}
		l := received{ID: id}
		if err := json.Unmarshal([]byte(data), &l); err != nil {
			t.Errorf("not a line: %s: %v", data, err)
		}
		if data = ""; !each(l) {
			return
		}
	}
}

func TestForwardedRequestHasOneIDAndItsQuery(t *testing.T) {
	service := testkit.Serve(t, requestid.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/api/platforms/1" {
			_, _ = w.Write([]byte(r.URL.RawQuery))
			return
		}
		_, _ = w.Write([]byte(requestid.From(r.Context())))
	})))
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "PLATFORMS_URL": service, "COMMANDS_URL": service}, Parts{})
	for _, header := range [][]string{nil, {requestid.Header, "mine"}} {
		got := testkit.Send(t, "GET", url+"/api/platforms", "", header...)
		assert.Equal(t, []string{got.Body}, got.Header.Values(requestid.Header), "the service and the client know it by the same")
	}
	assert.Equal(t, "limit=%zz", testkit.Send(t, "GET", url+"/api/platforms/1?limit=%zz", "").Body, "the service refuses it")
	for _, path := range []string{"/api/other", "/api//platforms", "/api/platforms2"} {
		testkit.RequireProblem(t, testkit.Send(t, "GET", url+path, ""), http.StatusNotFound)
	}
}
