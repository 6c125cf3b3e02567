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
func sigterm(r *run) {
	r.services(2, 2)
	// As behind a load balancer: a request that one replica does not respond to is
	// sent to the other, with the same key, so that nothing is created twice.
	load := usual()
	load.keys = true
	r.begin(load)
	r.lasts(3 * time.Second)
	for _, s := range []*service{r.platforms[0], r.commands[0]} {
		r.phase("SIGTERM " + s.name)
		r.stopUnderRequests(s)
		r.lasts(3 * time.Second)
		r.restart(s)
	}
	r.phase("rolling restart")
	var slowest time.Duration
	var failed error
	for _, s := range r.all() {
		start := time.Now()
		failed = errors.Join(failed, s.terminate())
		slowest = max(slowest, time.Since(start))
		r.restart(s)
		r.lasts(2 * time.Second)
	}
	r.expect(fmt.Sprintf("exit status 0 within %s of SIGTERM in the rolling restart", stopGrace), failed == nil, "%s", tookOr(slowest, failed))
	r.phase(after)
	r.lasts(3 * time.Second)
	r.finish()
	cutOff := 0
	for _, p := range r.history.posts {
		cutOff += p.cutOff
	}
	// A connection that the kernel had accepted and the process had not yet is reset
	// when the process stops listening. Its client cannot tell that from a cut.
	r.tell("POSTs cut off as a process stopped listening, and retried", "%d", cutOff)
	r.expect("0 unknown with retries", r.verdict.unknown == 0, "%d", r.verdict.unknown)
	r.expectComplete()
}

// stopUnderRequests sends SIGTERM to a service while it handles ten requests.
func (r *run) stopUnderRequests(s *service) {
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
		held = append(held, get(hold(r.ctx, s.address(), path, name, body)))
	}
	start := time.Now()
	var stopping sync.WaitGroup
	var stopped error
	stopping.Go(func() { stopped = s.terminate() })
	defer stopping.Wait()
	r.refusesConnections(s)
	for _, h := range held {
		h.finish() // all of them first: a service waits for a body, but not for long
	}
	answered := 0
	for _, h := range held {
		status := h.status()
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
}

// refusesConnections waits until a service no longer listens: it has begun to stop.
func (r *run) refusesConnections(s *service) {
	get(r.within(stopGrace, func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.address())
		if err != nil {
			return nil
		}
		conn.Close()
		return fmt.Errorf("%s still listens", s.name)
	}))
}

// heldRequest is a request that the service has begun to read.
type heldRequest struct {
	conn  net.Conn
	read  *bufio.Reader
	name  string
	body  string
	begun time.Time
}

// hold sends all of a request but its body, and waits until the service asks for the
// body.
func hold(ctx context.Context, address, path, name, body string) (*heldRequest, error) {
	conn, err := (&net.Dialer{Timeout: stopGrace}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("begin a request: %w", err)
	}
	h := &heldRequest{conn: conn, read: bufio.NewReader(conn), name: name, body: body, begun: time.Now()}
	if err := h.begin(path); err != nil {
		conn.Close()
		return nil, fmt.Errorf("begin a request: %w", err)
	}
	return h, nil
}

func (h *heldRequest) begin(path string) error {
	if err := h.conn.SetDeadline(time.Now().Add(stopGrace)); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(h.conn, "POST %s HTTP/1.1\r\nHost: drill\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		path, len(h.body)); err != nil {
		return err
	}
	line, err := h.read.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "HTTP/1.1 100 ") {
		return fmt.Errorf("%s instead of 100 Continue", strings.TrimSpace(line))
	}
	_, err = h.read.ReadString('\n')
	return err
}

// finish sends the body. status says whether the service received it.
func (h *heldRequest) finish() { _, _ = h.conn.Write([]byte(h.body)) }

// status returns the status of the response, or 0.
func (h *heldRequest) status() int {
	response, err := http.ReadResponse(h.read, nil)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	return response.StatusCode
}
