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
	"net/http"
	"os"
	"slices"
	"time"
)

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
