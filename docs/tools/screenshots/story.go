package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/color"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"microcomm/docs/tools/internal/process"
)

// recordStory starts final with a broker, tells the story there, and writes what its
// console has seen to file.
func recordStory(ctx context.Context, file string) error {
	env, url := os.Environ(), ""
	for _, name := range []string{"PLATFORMS_HTTP_ADDR", "PLATFORMS_GRPC_ADDR", "COMMANDS_HTTP_ADDR", "API_PAGE_ADDR", "CONSOLE_HTTP_ADDR"} {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return fmt.Errorf("find a free port: %w", err)
		}
		env, url = append(env, name+"="+listener.Addr().String()), "http://"+listener.Addr().String()
		listener.Close()
	}
	final, err := process.Start(process.Command{Args: []string{"go", "tool", "lab", "run", "final", "--broker"}, Env: env, Stdout: os.Stderr, Stderr: os.Stderr})
	if err != nil {
		return err
	}
	defer final.Stop(time.Minute)
	if err := ready(ctx, url, final); err != nil {
		return err
	}
	return tell(ctx, url, file)
}

// ready waits until the console at url shows every part.
func ready(ctx context.Context, url string, final *process.Process) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute) // with nothing compiled yet
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := request(ctx, http.MethodGet, url, "/api/c/platforms", nil); err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-final.Done():
			return fmt.Errorf("lab run final: %s", final.Ending())
		case <-ctx.Done():
			return fmt.Errorf("final is not up: %w", ctx.Err())
		}
	}
}

// tell plays a story on a running system: two platforms, a broker that is killed,
// three platforms that wait, and the broker again. It writes what the console has seen
// to file.
func tell(ctx context.Context, url, file string) error {
	steps := []struct {
		after time.Duration
		do    func() error
	}{
		{time.Second, platform(ctx, url, "Docker")},
		{3 * time.Second, platform(ctx, url, "Redis")},
		{3 * time.Second, control(ctx, url, "kill", "broker")},
		{3 * time.Second, platform(ctx, url, "PostgreSQL")},
		{2 * time.Second, platform(ctx, url, "Grafana")},
		{2 * time.Second, platform(ctx, url, "NATS")},
		{4 * time.Second, control(ctx, url, "start", "broker")},
		{12 * time.Second, platform(ctx, url, "Terraform")},
		{3 * time.Second, func() error { return nil }},
	}
	for _, step := range steps {
		select {
		case <-time.After(step.after):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := step.do(); err != nil {
			return err
		}
	}
	recording, err := request(ctx, http.MethodGet, url, "/feed?format=ndjson", nil)
	if err != nil {
		return err
	}
	return os.WriteFile(file, recording, 0o644)
}

func platform(ctx context.Context, url, name string) func() error {
	return func() error {
		_, err := request(ctx, http.MethodPost, url, "/api/platforms", map[string]string{"name": name, "publisher": "the story", "cost": "Free"})
		return err
	}
}

func control(ctx context.Context, url, action, part string) func() error {
	return func() error {
		_, err := request(ctx, http.MethodPost, url, "/control/faults", map[string]any{"action": action, "part": part, "predicted": 0})
		return err
	}
}

// request sends a request as the page does, and returns the body of its response.
func request(ctx context.Context, method, origin, path string, body any) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	content, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, origin+path, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Microcomm-Control", "1")
	r.Header.Set("Origin", origin)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 8<<20))
	if err == nil && response.StatusCode >= 300 {
		err = errors.New(response.Status + ": " + string(answer))
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return answer, nil
}

// mostFrequent returns the n colours that are seen most.
func mostFrequent(frequency map[color.RGBA]int, n int) color.Palette {
	colours := slices.SortedFunc(maps.Keys(frequency), func(a, b color.RGBA) int {
		return cmp.Or(cmp.Compare(frequency[b], frequency[a]), cmp.Compare(a.R, b.R), cmp.Compare(a.G, b.G), cmp.Compare(a.B, b.B))
	})
	var palette color.Palette
	for _, c := range colours[:min(n, len(colours))] {
		palette = append(palette, c)
	}
	return palette
}
