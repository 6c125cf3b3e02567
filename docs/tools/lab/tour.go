package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"microcomm/docs/tools/internal/feed"
	"microcomm/docs/tools/internal/process"
)

func tourVerb() verb {
	var record string
	v := verb{
		name:    "tour",
		summary: "starts the whole system, and follows one platform through it",
		about: `Starts final in one process, creates a platform, and shows each hop as it happens, with the
chapter that explains it. The system keeps running until Ctrl-C, for you to try.`,
		run: func(ctx context.Context, l *lab, _ []string) error {
			return unlessStopped(ctx, l, tour(ctx, l, record))
		},
	}
	v.flags.StringVar(&record, "record", "", "write what the console sees of it into `FILE`, for its page to play")
	return v
}

// hopTimeout bounds the wait for each hop.
const hopTimeout = time.Minute

// tourSettings override the environment: a log that await can read, and only the
// example platforms, so that the platform of the tour has the id 4.
var tourSettings = []string{
	"LOG_FORMAT=text", "LOG_LEVEL=info",
	"DATABASE_URL=sqlite::memory:", "COMMANDS_DATABASE_URL=sqlite::memory:", "SEED_DATA=true",
	"CONSOLE=on",
}

func tour(ctx context.Context, l *lab, record string) error {
	at, err := l.findStage("final")
	if err != nil {
		return err
	}
	s := l.stages[at]
	system := servicesOf(s, false)[0]
	if err := free(ctx, system); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "microcomm-tour-")
	if err != nil {
		return err
	}
	defer process.RemoveAll(dir)
	if err := build(ctx, l, s, []*service{system}, dir); err != nil {
		return err
	}
	log := &tourLog{grown: make(chan struct{}, 1)}
	secret := rand.Text()
	started := time.Now()
	p, err := process.Start(process.Command{
		Args: []string{filepath.Join(dir, system.binary)}, Dir: s.Dir, Stdout: log, Stderr: log,
		Env: append(append(os.Environ(), tourSettings...), "CONSOLE_CONTROL_SECRET="+secret),
	})
	if err != nil {
		return err
	}
	defer p.Stop(2 * time.Second)
	guide := &guide{out: l.out, log: log, address: system.http.address(), ended: p.Done(), timeout: hopTimeout, began: started}
	console := feed.New(guide.address, secret)
	defer console.Close()
	var noteErr error
	if record != "" {
		guide.note = func(hop string) { noteErr = cmp.Or(noteErr, console.Post(ctx, feed.Note(hop))) }
	}
	err = guide.walk(ctx)
	if err == nil && record != "" {
		err = cmp.Or(noteErr, save(ctx, console, record))
	}
	if err != nil {
		return fmt.Errorf("%w; the system said:\n%s", err, log.String())
	}
	fmt.Fprintf(l.out, `
Now you. It's at http://%[1]s, until Ctrl-C. In a browser you'll watch each hop; in another terminal:
  curl http://%[1]s/api/platforms
  curl http://%[1]s/api/c/platforms

Where to continue: 01-rest/README.md builds the first of these services.
`, guide.address)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.Done():
		return fmt.Errorf("the system ended unexpectedly: %s", p.Ending())
	}
}

// guide shows the hops.
type guide struct {
	out     io.Writer
	log     *tourLog
	address string          // of the gateway
	ended   <-chan struct{} // with the system
	timeout time.Duration   // for each hop
	began   time.Time
	hops    int
	note    func(hop string) // may be nil
}

// walk creates a platform and follows it.
func (g *guide) walk(ctx context.Context) error {
	if _, err := g.await(ctx, `msg="backfill done"`); err != nil {
		return err
	}
	g.hop("07", "Two services and a bus have started, in one process. CommandsService has asked PlatformService, by gRPC,",
		"for the platforms that already existed: a backfill.")

	const body = `{"name":"Docker","publisher":"Docker","cost":"Free"}`
	const key = "Idempotency-Key: the-tour"
	g.began = time.Now()
	status, created, err := g.request(ctx, "POST", "/api/platforms", body, key)
	if err != nil {
		return err
	}
	g.hop("04", "A client POSTs a platform to the gateway, which finds its service by the path: POST /api/platforms", "  "+body)
	g.hop("01", "PlatformService has checked it, stored it and given it an id. The response: "+status, "  "+created)
	g.hop("final", "In the same transaction it has stored the event that reports the platform, so the event survives any crash from now on.")

	line, err := g.await(ctx, "received by event", "name=Docker", "last=4")
	if err != nil {
		return err
	}
	g.hop("06", "The relay has sent the event to the exchange, the exchange to CommandsService's queue, and CommandsService says:", "  "+line)
	_, known, err := g.request(ctx, "GET", "/api/c/platforms", "")
	if err != nil {
		return err
	}
	g.hop("02", "It keeps a copy of each platform's name, to attach command lines to. GET /api/c/platforms", "  "+known)

	id := between(created, `"id":`, ",")
	const command = `{"howTo":"Build an image","commandLine":"docker build ."}`
	status, stored, err := g.request(ctx, "POST", "/api/c/platforms/"+id+"/commands", command)
	if err != nil {
		return err
	}
	g.hop("02", "A command line for it: POST /api/c/platforms/"+id+"/commands: "+status, "  "+stored)

	status, again, err := g.request(ctx, "POST", "/api/platforms", body, key)
	if err != nil {
		return err
	}
	if again != created {
		return fmt.Errorf("the same POST with the same Idempotency-Key created another platform: %s", again)
	}
	g.hop("final", "The client did not get the first response, say, and POSTs the same again, with the same Idempotency-Key: "+status,
		"  "+again, "No second platform.")
	return nil
}

// hop prints what has happened, and which chapter explains it.
func (g *guide) hop(chapter string, lines ...string) {
	g.hops++
	fmt.Fprintf(g.out, "\n%d. %s\n", g.hops, colour(g.out, "36", fmt.Sprintf("chapter %s, after %dms", chapter, time.Since(g.began).Milliseconds())))
	var note []string
	for _, line := range lines {
		fmt.Fprintf(g.out, "   %s\n", line)
		if !strings.HasPrefix(line, " ") { // not a body or a line of the log
			note = append(note, line)
		}
	}
	if g.note != nil {
		g.note(strings.TrimSuffix(strings.Join(note, " "), ":"))
	}
}

// save writes what the console has seen into file, once it has seen how the
// platform's way ends.
func save(ctx context.Context, console *feed.Feed, file string) error {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for {
		text, err := console.Download(ctx)
		if err != nil {
			return err
		}
		if bytes.Contains(text, []byte(`"hop":"acknowledged"`)) {
			return os.WriteFile(file, text, 0o644)
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for the console to see the acknowledgement: %w", ctx.Err())
		}
	}
}

// await waits until the system has logged a line with the first text and one of
// the others, and returns it without its time.
func (g *guide) await(ctx context.Context, text string, either ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	for {
		for line := range strings.Lines(g.log.String()) {
			if strings.Contains(line, text) && (len(either) == 0 || slices.ContainsFunc(either, func(part string) bool { return strings.Contains(line, part) })) {
				_, line, _ = strings.Cut(strings.TrimSpace(line), " ")
				return line, nil
			}
		}
		select {
		case <-g.log.grown:
		case <-g.ended:
			return "", errors.New("the system ended unexpectedly")
		case <-ctx.Done():
			return "", fmt.Errorf("wait for %s: %w", text, ctx.Err())
		}
	}
}

// request sends one request to the gateway. A status other than 2xx is an error.
func (g *guide) request(ctx context.Context, method, path, body string, headers ...string) (status, response string, err error) {
	ctx, cancel := context.WithTimeout(ctx, hopTimeout)
	defer cancel()
	status, response, err = request(ctx, g.address, method, path, body, headers...)
	if err == nil && !strings.HasPrefix(status, "2") {
		err = fmt.Errorf("%s %s: %s: %s", method, path, status, response)
	}
	return status, response, err
}

// between returns the text between two parts of text.
func between(text, before, after string) string {
	_, text, _ = strings.Cut(text, before)
	text, _, _ = strings.Cut(text, after)
	return text
}

// tourLog keeps what the system logs.
type tourLog struct {
	mu    sync.Mutex
	text  bytes.Buffer
	grown chan struct{} // has a value when there is more
}

// Write implements io.Writer.
func (t *tourLog) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case t.grown <- struct{}{}:
	default:
	}
	return t.text.Write(b)
}

func (t *tourLog) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.text.String()
}
