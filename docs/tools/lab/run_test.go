package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"microcomm/docs/tools/internal/repo"
)

// miniStage is a stage whose one service listens on PLATFORMS_HTTP_ADDR, never stops
// printing, and ends when asked for /die.
func miniStage(t *testing.T) *lab {
	t.Helper()
	l := workspace(t, map[string]string{
		"01-one/go.mod": "module microcomm/01-one\n\ngo 1.26\n",
		"01-one/cmd/platformservice/main.go": `package main

import (
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	http.HandleFunc("/api/platforms", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, "[]") })
	http.HandleFunc("/die", func(w http.ResponseWriter, r *http.Request) { os.Exit(7) })
	if os.Getenv("STUBBORN") != "" {
		signal.Ignore(syscall.SIGTERM)
	}
	go func() {
		for range time.Tick(100 * time.Millisecond) {
			fmt.Fprintln(os.Stderr, "still running")
		}
	}()
	_, set := os.LookupEnv("RABBITMQ_URL")
	fmt.Fprintln(os.Stderr, "RABBITMQ_URL is set:", set)
	fmt.Fprintln(os.Stderr, "hello from the service")
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Getenv("PLATFORMS_HTTP_ADDR"), nil))
}
`,
	})
	l.out, l.err = &syncBuffer{}, &syncBuffer{}
	t.Setenv("TMPDIR", t.TempDir())
	return l
}

// startRun starts `lab run 01` on a free port and waits until it is up.
func startRun(t *testing.T, ctx context.Context, l *lab) (address string, ended chan error) {
	t.Helper()
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("no gcc, which lab run asks for")
	}
	address = someFreeAddress()
	t.Setenv("PLATFORMS_HTTP_ADDR", address)
	ended = make(chan error, 1)
	go func() { ended <- l.do(ctx, "run", "01") }()
	waitFor(t, "the stage to be up", func() bool {
		select {
		case err := <-ended:
			t.Fatalf("it ended: %v\n%s%s", err, l.out, l.err)
		default:
		}
		return strings.Contains(l.out.(*syncBuffer).String(), "is up")
	})
	return address, ended
}

func TestRunUntilItIsStopped(t *testing.T) {
	l := miniStage(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	address, ended := startRun(t, ctx, l)
	if err := l.do(t.Context(), "run", "01"); err == nil || !strings.Contains(err.Error(), "PLATFORMS_HTTP_ADDR") {
		t.Errorf("a second one on the same port: %v, want an error that names the setting", err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
	if err := portFree(t.Context(), address); err != nil {
		t.Errorf("the service is left: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "microcomm-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("files are left: %v (error: %v)", left, err)
	}
	said := l.out.(*syncBuffer).String()
	for _, want := range []string{"platformservice | hello from the service\n", "curl -i http://" + address + "/api/platforms"} {
		if !strings.Contains(said, want) {
			t.Errorf("it does not say %q: %s", want, said)
		}
	}
}

// TestRunWithoutAnAPIPage: what a page needs may be broken, and the stage still runs.
func TestRunWithoutAnAPIPage(t *testing.T) {
	l := miniStage(t)
	folder := filepath.Join(l.root, "01-one", "platformservice")
	if err := errors.Join(os.Mkdir(folder, 0o755), os.WriteFile(filepath.Join(folder, "openapi.yaml"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, ended := startRun(t, ctx, l)
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("stopped: %v", err)
	}
	if said := l.err.(*syncBuffer).String(); !strings.Contains(said, "no API page: ") {
		t.Errorf("it says %q", said)
	}
	if said := l.out.(*syncBuffer).String(); strings.Contains(said, "API page") {
		t.Errorf("it names a page: %q", said)
	}
}

func TestRunEndsWithAServiceThatDies(t *testing.T) {
	l := miniStage(t)
	address, ended := startRun(t, t.Context(), l)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/die", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := http.DefaultClient.Do(request); err == nil {
		response.Body.Close()
	}
	if err := <-ended; err != errReported {
		t.Errorf("error: %v", err)
	}
	if said := l.err.(*syncBuffer).String(); !strings.Contains(said, "PlatformService ended unexpectedly: exit status 7") {
		t.Errorf("it says %q", said)
	}
}

// waitFor waits for a condition, and fails the test when it does not come true.
func waitFor(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // a program may have to be built first
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("timed out waiting for %s", what)
		case <-tick.C:
		}
	}
}

// syncBuffer is a bytes.Buffer for several goroutines.
type syncBuffer struct {
	lock   sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buffer.Write(p)
}

func (b *syncBuffer) String() string {
	b.lock.Lock()
	defer b.lock.Unlock()
	return b.buffer.String()
}

// TestRunApart: a stage that runs as one process also runs as its services.
func TestRunApart(t *testing.T) {
	l := workspace(t, map[string]string{
		"final/go.mod":                      "module microcomm/final\n",
		"final/cmd/microcomm/main.go":       "package main\n",
		"final/cmd/commandsservice/main.go": "package main\n",
	})
	s := l.stages[len(l.stages)-1]
	for apart, want := range map[bool]string{false: "microcomm", true: "commandsservice platformservice"} {
		var binaries []string
		for _, service := range servicesOf(s, apart) {
			binaries = append(binaries, service.binary)
		}
		if got := strings.Join(binaries, " "); got != want {
			t.Errorf("apart %t: %s, want %s", apart, got, want)
		}
	}
}

func TestBrokerPort(t *testing.T) {
	for given, want := range map[string]int{
		"":                             5672,
		"amqp://localhost/":            5672,
		"amqp://guest@localhost:5700/": 5700,
		"amqp://127.0.0.1:5701":        5701,
		"amqp://broker:5672/":          0,
		"amqps://localhost:5671/":      0,
		"localhost:5672":               0,
		"amqp://localhost:0/":          0,
	} {
		if got, err := brokerPort(given); got != want || (err == nil) != (want != 0) {
			t.Errorf("brokerPort(%q) = %d, %v, want %d", given, got, err, want)
		}
	}
}

// TestGreetWarnsOfAPortThatBrowsersRefuse: final --broker serves a page at port 6000.
func TestGreetWarnsOfAPortThatBrowsersRefuse(t *testing.T) {
	var out bytes.Buffer
	pages := []string{"http://localhost:6000/docs", "http://localhost:5000/docs"}
	greet(&lab{out: &out}, repo.Stage{Name: "final"}, []*service{{}}, pages, false)
	for _, want := range []string{"6000/docs  (browsers refuse port 6000; COMMANDS_HTTP_ADDR moves it)\n", "5000/docs\n"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
}
