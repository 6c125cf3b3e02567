package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// startSystem runs the system on a free port and returns the gateway's URL.
// It ends, without an error, with the test.
func startSystem(t *testing.T, settings ...string) (url string, log *logBuffer) {
	t.Helper()
	log = &logBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	values := map[string]string{"GATEWAY_ADDR": "127.0.0.1:0", "RABBITMQ_URL": ""}
	for i := 0; i < len(settings); i += 2 {
		values[settings[i]] = settings[i+1]
	}
	cfg, err := configFromEnv(env(values))
	require.NoError(t, err)
	go func() {
		ended <- run(ctx, cfg, slog.New(slog.NewTextHandler(log, nil)))
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
	})
	gateway := regexp.MustCompile(`msg="listening for HTTP" service=gateway addr=(\S+)`)
	require.Eventually(t, func() bool { return gateway.MatchString(log.String()) }, patience, 10*time.Millisecond)
	url = "http://" + gateway.FindStringSubmatch(log.String())[1]
	require.Eventually(t, func() bool {
		status, _, err := get(url + "/api/platforms")
		return err == nil && status == http.StatusOK
	}, patience, 10*time.Millisecond)
	return url, log
}

// logBuffer collects a log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func get(url string) (int, string, error) {
	client := http.Client{Timeout: patience}
	defer client.CloseIdleConnections()
	response, err := client.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return response.StatusCode, string(body), err
}

func TestPlatformCreatedAtTheGatewayReachesCommandsService(t *testing.T) {
	url, log := startSystem(t)
	response, err := http.Post(url+"/api/platforms", "application/json",
		strings.NewReader(`{"name": "Docker", "publisher": "Docker", "cost": "Free"}`))
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusCreated, response.StatusCode)
	var created struct {
		ID int `json:"id"`
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&created))
	require.Eventually(t, func() bool {
		status, _, err := get(fmt.Sprintf("%s/api/c/platforms/%d/commands", url, created.ID))
		return err == nil && status == http.StatusOK
	}, patience, 10*time.Millisecond)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "received by event") },
		patience, 10*time.Millisecond, "it arrived by the bus")
	require.NotContains(t, log.String(), "platform received by HTTP")
}

func TestSeededPlatformsAreBackfilled(t *testing.T) {
	url, _ := startSystem(t)
	require.Eventually(t, func() bool {
		_, body, err := get(url + "/api/c/platforms")
		return err == nil && strings.Contains(body, "Kubernetes")
	}, patience, 10*time.Millisecond)
}

func TestGatewayRoutesAsTheIngressDoes(t *testing.T) {
	url, _ := startSystem(t)
	tests := []struct {
		path   string
		status int
	}{
		{"/api/platforms", http.StatusOK},
		{"/api/platforms/", http.StatusOK},
		{"/api/platforms/1", http.StatusOK},
		{"/api/c/platforms", http.StatusOK},
		{"/api/platformsfoo", http.StatusNotFound},
		{"/api/c/platformsfoo", http.StatusNotFound},
		{"/livez", http.StatusNotFound},
		{"/docs", http.StatusOK},
		{"/docs/try.js", http.StatusOK},
		{"/openapi.json", http.StatusOK},
		{"/protos/platforms.proto", http.StatusNotFound},
		{"/", http.StatusOK},
		{"/feed?format=ndjson", http.StatusOK},
		{"/v1/traces", http.StatusNotFound},
	}
	for _, test := range tests {
		t.Run(test.path, func(t *testing.T) {
			status, body, err := get(url + test.path)
			require.NoError(t, err)
			require.Equal(t, test.status, status, body)
		})
	}
}

// A page whose own name now leads to this machine is of the gateway's origin, too.
func TestFeedIsNotReadByAnotherName(t *testing.T) {
	url, _ := startSystem(t)
	request, err := http.NewRequest(http.MethodGet, url+"/feed?format=ndjson", nil)
	require.NoError(t, err)
	request.Host = "rebound.example.com"
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusMisdirectedRequest, response.StatusCode)
}

func TestConsoleCanBeLeftOut(t *testing.T) {
	url, _ := startSystem(t, "CONSOLE", "off")
	for path, status := range map[string]int{"/": http.StatusNotFound, "/feed": http.StatusNotFound, "/api/platforms": http.StatusOK} {
		got, _, err := get(url + path)
		require.NoError(t, err)
		require.Equal(t, status, got, path)
	}
}

// The console reads from the services all the time; a client on the same machine
// has a rate limit of its own.
func TestConsoleTakesNothingFromAClientsRateLimit(t *testing.T) {
	url, _ := startSystem(t, "HTTP_RATE_LIMIT", "1")
	for range 4 {
		<-time.After(1100 * time.Millisecond) // a request a second is what the limit allows
		status, body, err := get(url + "/api/platforms")
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status, body)
	}
}

func TestTakenPortIsAClearError(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	cfg, err := configFromEnv(env(map[string]string{"GATEWAY_ADDR": listener.Addr().String()}))
	require.NoError(t, err)
	err = run(t.Context(), cfg, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "GATEWAY_ADDR")
}

func TestWrongSettingsAreNamedAtOnce(t *testing.T) {
	for _, addr := range []string{"", ":", "localhost", "localhost:99999", "localhost:-1"} {
		_, err := configFromEnv(env(map[string]string{"GATEWAY_ADDR": addr, "HTTP_MAX_IN_FLIGHT": "0", "COMMANDS_QUEUE": ""}))
		for _, name := range []string{"GATEWAY_ADDR", "HTTP_MAX_IN_FLIGHT", "COMMANDS_QUEUE"} {
			require.Equal(t, 1, strings.Count(err.Error(), name+": "), "once, even if both services read it: %v", err)
		}
	}
}
