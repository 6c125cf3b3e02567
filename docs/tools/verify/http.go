package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"time"
)

// http starts each stage that has a file in docs/requests, and sends the requests. Without
// files it also compares the requests with the stages' routes.
func (v *verifier) http(ctx context.Context, files []string) error {
	c, err := newCheckout(ctx, v.root)
	if err != nil {
		return err
	}
	all := len(files) == 0
	if all {
		for _, file := range c.files {
			if strings.HasSuffix(file, ".http") {
				files = append(files, file)
			}
		}
	}
	var parsed []*requestFile
	for _, file := range files {
		text, err := c.read(file)
		if err != nil {
			return err
		}
		f, err := parseRequests(file, text)
		if err != nil {
			found := results{name: file}
			found.check(file, err)
			v.report.add(found)
			continue
		}
		parsed = append(parsed, f)
	}
	if all {
		if err := v.checkRoutes(parsed); err != nil {
			return err
		}
	}
	return inParallel(ctx, v.workers(), parsed, v.send)
}

// send starts the stage of a file and sends its requests.
func (v *verifier) send(ctx context.Context, f *requestFile) error {
	found := results{name: f.path}
	defer func() { v.report.add(found) }()
	moved := ports{pool: &v.ports}
	settings, err := moved.settings(false) // lab run gives each service the address of the other
	if err != nil {
		return err
	}
	stage, err := startBackground(v.root, shellEnvironment(settings...), "exec go tool lab run "+f.start)
	if err != nil {
		return err
	}
	defer stage.process.Interrupt(v.limits.stop)
	err = stage.wait(ctx, v.limits.ready, func(output string) bool { return strings.Contains(output, " is up:") })
	if err != nil {
		found.check(f.path, fmt.Errorf("lab run %s: %w; it printed\n%s", f.start, err, stage.output.String()))
		return ctx.Err()
	}
	for _, r := range f.requests {
		target, err := moved.commands(r.url)
		if err != nil {
			return err
		}
		err = r.sendTo(ctx, target, v.limits.wait)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		found.check(fmt.Sprintf("%s:%d", f.path, r.line), err)
	}
	return nil
}

// sendTo sends the request. One marked eventually is repeated until the response is as
// expected.
func (r *request) sendTo(ctx context.Context, target string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := r.sendOnce(ctx, target)
		if err == nil || !r.eventually || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		<-tick.C
	}
}

func (r *request) sendOnce(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	sent, err := http.NewRequestWithContext(ctx, r.method, target, strings.NewReader(r.body))
	if err != nil {
		return err
	}
	for _, header := range r.headers {
		sent.Header.Add(header[0], header[1])
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(sent)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		return err
	}
	if err := r.judge(response, string(body)); err != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.name, err)
	}
	return nil
}

// judge returns an error if a response is not as expected.
func (r *request) judge(response *http.Response, body string) error {
	var wrong []error
	if response.StatusCode != r.status {
		wrong = append(wrong, fmt.Errorf("the status is %d, not %d: %s", response.StatusCode, r.status, strings.TrimSpace(body)))
	}
	for _, want := range r.wantHeaders {
		got := response.Header.Get(want[0])
		if got == "" || want[1] != ellipsis && got != want[1] {
			wrong = append(wrong, fmt.Errorf("the header %s is %q, not %q", want[0], got, want[1]))
		}
	}
	if r.wantBody != "" {
		want, err := parsePattern(r.wantBody)
		if err != nil {
			return err
		}
		got, err := decodeJSON(body)
		if err == nil {
			err = conforms(want, got, "body")
		}
		wrong = append(wrong, err)
	}
	for _, want := range r.wantTexts {
		if !strings.Contains(body, want) {
			wrong = append(wrong, fmt.Errorf("the body does not have %q: %s", want, body))
		}
	}
	return errors.Join(wrong...)
}

// checkRoutes reports every route that no request uses, and every stage without a file.
func (v *verifier) checkRoutes(files []*requestFile) error {
	stages, err := filepath.Glob(filepath.Join(v.root, "*", "platformservice"))
	if err != nil {
		return err
	}
	found := results{name: "routes"}
	for _, dir := range stages {
		stage := filepath.Base(filepath.Dir(dir))
		routes, err := routesOf(filepath.Join(v.root, stage))
		if err != nil {
			return err
		}
		var sent []*request
		for _, f := range files {
			name, _, _ := strings.Cut(f.start, " ")
			if stage == name || strings.HasPrefix(stage, name+"-") {
				sent = append(sent, f.requests...)
			}
		}
		var missing []error
		for _, route := range routes {
			missing = append(missing, route.usedBy(sent))
		}
		found.check(stage, errors.Join(missing...))
	}
	v.report.add(found)
	return nil
}
