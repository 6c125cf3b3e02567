package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// sigterm stops each service in turn, and then restarts all, one after the other.
func sigterm(ctx context.Context, r *run) error {
	for range 2 {
		if _, err := r.pair(); err != nil {
			return err
		}
	}
	// As behind a load balancer: what one replica does not respond to is sent to
	// the other. With a key, so that it is not created twice.
	load := usual()
	load.keys = true
	if err := r.begin(ctx, load); err != nil {
		return err
	}
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	for _, s := range []*service{r.platforms[0], r.commands[0]} {
		r.phase("SIGTERM " + s.name)
		if err := r.stopUnderRequests(ctx, s); err != nil {
			return err
		}
		if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
			return err
		}
		if err := r.restart(ctx, s); err != nil {
			return err
		}
	}
	r.phase("rolling restart")
	var slowest time.Duration
	var failed error
	for _, s := range r.all() {
		start := time.Now()
		failed = errors.Join(failed, s.terminate())
		slowest = max(slowest, time.Since(start))
		if err := r.restart(ctx, s); err != nil {
			return err
		}
		if err := r.lasts(ctx, r.times(2*time.Second)); err != nil {
			return err
		}
	}
	r.expect(fmt.Sprintf("exit status 0 within %s of SIGTERM in the rolling restart", stopGrace), failed == nil, "%s", tookOr(slowest, failed))
	r.phase(after)
	if err := r.lasts(ctx, r.times(3*time.Second)); err != nil {
		return err
	}
	if err := r.finish(ctx, r.patience()); err != nil {
		return err
	}
	cutOff := 0
	for _, p := range r.history.posts {
		cutOff += p.cutOff
	}
	// A connection that the kernel had taken and the process had not yet is reset
	// when the process stops listening: nobody can tell it from one cut off.
	r.tell("POSTs cut off as a process stopped listening, and retried", "%d", cutOff)
	r.expect("0 unknown with retries", r.verdict.unknown == 0, "%d", r.verdict.unknown)
	r.expectComplete()
	return nil
}

// stopUnderRequests sends SIGTERM to a service that is in the midst of ten requests.
func (r *run) stopUnderRequests(ctx context.Context, s *service) error {
	const n = 10
	path, complete := platformsPath, http.StatusCreated
	if s.program == "commandsservice" {
		path, complete = commandsPath, http.StatusBadRequest // which is a response too, and stores nothing
	}
	var held []*heldRequest
	defer func() {
		for _, h := range held {
			h.conn.Close()
		}
	}()
	for i := range n {
		body := "{}"
		name := fmt.Sprintf("held-%d", i)
		if complete == http.StatusCreated {
			body = fmt.Sprintf(`{"name":%q,"publisher":"drill","cost":"Free"}`, name)
		}
		h, err := hold(ctx, strings.TrimPrefix(s.url, "http://"), path, name, body)
		if err != nil {
			return fmt.Errorf("begin a request to %s: %w", s.name, err)
		}
		held = append(held, h)
	}
	start := time.Now()
	var stopping sync.WaitGroup
	var stopped error
	stopping.Go(func() { stopped = s.terminate() })
	defer stopping.Wait()
	// It has begun to stop when it takes no more connections.
	if _, err := r.within(ctx, stopGrace, func(ctx context.Context) error {
		conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", strings.TrimPrefix(s.url, "http://"))
		if err != nil {
			return nil
		}
		conn.Close()
		return fmt.Errorf("%s still listens", s.name)
	}); err != nil {
		return err
	}
	answered := 0
	for _, h := range held {
		status := h.finish()
		if status == complete {
			answered++
		}
		if complete == http.StatusCreated {
			r.extra = append(r.extra, post{name: h.name, begun: h.begun, sent: h.begun, done: time.Now(), outcome: outcomeOf(status), status: status, attempts: 1})
		}
	}
	stopping.Wait()
	r.expect(fmt.Sprintf("the %d requests that were under way at %s to get their response", n, s.name), answered == n, "%d did", answered)
	r.expect(fmt.Sprintf("exit status 0 within %s of SIGTERM, %s", stopGrace, s.name), stopped == nil, "%s", tookOr(time.Since(start), stopped))
	return nil
}

// heldRequest is a request that the service has begun to read.
type heldRequest struct {
	conn  net.Conn
	read  *bufio.Reader
	name  string
	body  string
	begun time.Time
}

// hold sends all of a request but its body, and waits until the service asks for that.
func hold(ctx context.Context, address, path, name, body string) (*heldRequest, error) {
	h := &heldRequest{name: name, body: body, begun: time.Now()}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	h.conn, h.read = conn, bufio.NewReader(conn)
	fail := func(err error) (*heldRequest, error) {
		conn.Close()
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(stopGrace)); err != nil {
		return fail(err)
	}
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		path, address, len(body)); err != nil {
		return fail(err)
	}
	line, err := h.read.ReadString('\n')
	if err != nil {
		return fail(err)
	}
	if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		return fail(fmt.Errorf("%s instead of 100 Continue", strings.TrimSpace(line)))
	}
	if _, err := h.read.ReadString('\n'); err != nil {
		return fail(err)
	}
	return h, nil
}

// finish sends the body and returns the status of the response, or 0.
func (h *heldRequest) finish() int {
	if _, err := h.conn.Write([]byte(h.body)); err != nil {
		return 0
	}
	response, err := http.ReadResponse(h.read, nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
