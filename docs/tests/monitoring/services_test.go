package monitoring

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// scrape starts both services, uses them, and returns what they export. There is
// no broker: whatever is worth an alert has to be there without one too.
func scrape(t *testing.T) []labels.Labels {
	t.Helper()
	bin, dir := t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-buildvcs=false", "-o", bin+string(filepath.Separator), "./cmd/platformservice", "./cmd/commandsservice")
	build.Dir, build.Env = filepath.Join("..", "..", "..", "final"), append(os.Environ(), "GOWORK=off")
	if text, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	free := freeAddresses(t, 4)
	platforms, grpc, commands, nothing := free[0], free[1], free[2], free[3]
	for _, name := range []string{"platformservice", "commandsservice"} {
		service := exec.CommandContext(t.Context(), filepath.Join(bin, name)) // killed before the cleanup that waits for it
		service.Dir, service.Stdout, service.Stderr = dir, t.Output(), t.Output()
		service.Env = []string{
			"PLATFORMS_HTTP_ADDR=" + platforms, "PLATFORMS_GRPC_ADDR=" + grpc,
			"COMMANDS_HTTP_ADDR=" + commands, "PLATFORMS_GRPC_TARGET=" + grpc,
			"RABBITMQ_URL=amqp://" + nothing + "/",
		}
		if err := service.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = service.Wait() })
	}
	waitFor(t, "http://"+platforms+"/readyz")
	waitFor(t, "http://"+commands+"/readyz")
	send(t, http.MethodPost, "http://"+platforms+"/api/platforms", `{"name":"NATS","publisher":"Synadia","cost":"Free"}`)
	send(t, http.MethodGet, "http://"+commands+"/api/c/platforms", "")
	series := exported(t, "http://"+platforms)
	return append(series, exported(t, "http://"+commands)...)
}

// rabbitMQ is what RabbitMQ 4.1 and later export of a queue, each node of those that
// it has a copy of. It is written down, since tests may run with an older broker.
func rabbitMQ(t *testing.T) []labels.Labels {
	t.Helper()
	var series []labels.Labels
	for _, membership := range []string{"leader", "follower"} {
		metric, err := parser.NewParser(parser.Options{}).ParseMetric(
			`rabbitmq_detailed_queue_info{vhost="/",queue="commands.platforms",queue_type="rabbit_quorum_queue",membership="` + membership + `"}`)
		if err != nil {
			t.Fatal(err)
		}
		series = append(series, metric)
	}
	return series
}

// exported is every series of a service's /metrics.
func exported(t *testing.T, url string) []labels.Labels {
	t.Helper()
	var series []labels.Labels
	for line := range strings.Lines(send(t, http.MethodGet, url+"/metrics", "")) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		name, _, _ := strings.Cut(line, "} ")
		if strings.Contains(name, "{") {
			name += "}"
		} else {
			name, _, _ = strings.Cut(line, " ")
		}
		metric, err := parser.NewParser(parser.Options{}).ParseMetric(name)
		if err != nil {
			t.Fatalf("%s/metrics: %q: %v", url, line, err)
		}
		series = append(series, metric)
	}
	return series
}

// send sends a request, and returns the response's body.
func send(t *testing.T, method, url, body string) string {
	t.Helper()
	text, err := try(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func try(ctx context.Context, method, url, body string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, url, response.Status, text)
	}
	return string(text), err
}

// waitFor waits until a GET of url is a 200.
func waitFor(t *testing.T, url string) {
	t.Helper()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	late := time.After(30 * time.Second)
	for {
		_, err := try(t.Context(), http.MethodGet, url, "")
		if err == nil {
			return
		}
		select {
		case <-poll.C:
		case <-late:
			t.Fatal(err)
		}
	}
}

// freeAddresses are loopback addresses that nothing listens on. Their ports lie below
// those that the system gives to listeners and to connections, which would take some
// before the service does.
func freeAddresses(t *testing.T, n int) []string {
	t.Helper()
	var free []string
	for len(free) < n {
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 10_000+rand.N(20_000)))
		if err != nil {
			continue // it is in use
		}
		defer listener.Close() // at the end, so that no address is given twice
		free = append(free, listener.Addr().String())
	}
	return free
}
