// Package feed tells the console what happens to the system that it shows, and
// reads what it has recorded. docs/events-and-apis.md explains the lines.
package feed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Line is a fact for the console, which adds the sequence number.
type Line struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
	Content any       `json:"content"`
}

// Now returns the line for what has just happened.
func Now(kind, subject string, content any) Line {
	return Line{1, time.Now().UTC().Truncate(time.Microsecond), kind, subject, content}
}

// Part returns the line for a part that is starting, up, paused or down. detail may
// be empty.
func Part(id, state, detail string) Line {
	return Now("part", "part/"+id, struct {
		State  string `json:"state"`
		Detail string `json:"detail,omitempty"`
	}{state, detail})
}

// Note returns the line for a step that people read.
func Note(text string) Line { return Now("note", "note", map[string]string{"text": text}) }

// Fault is the content of a line about a fault.
type Fault struct {
	Action    string   `json:"action"`
	State     string   `json:"state"` // begun, ended or refused
	Predicted *int     `json:"predicted,omitempty"`
	Missing   *int     `json:"missing,omitempty"`
	Names     []string `json:"names,omitempty"` // of the missing platforms
	Detail    string   `json:"detail,omitempty"`
}

// Of returns the line for a fault of a part.
func (f Fault) Of(part string) Line { return Now("fault", "part/"+part, f) }

// Feed is the feed of a running console.
type Feed struct {
	url, secret string
	client      *http.Client
}

// New returns the feed of the console at address, host:port. The console knows the
// secret as CONSOLE_CONTROL_SECRET.
func New(address, secret string) *Feed {
	return &Feed{"http://" + address + "/feed", secret, &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}} // through no proxy
}

// errRefused is wrapped by the error for a line that the console doesn't accept.
var errRefused = errors.New("refused")

// Post adds a line. While no console listens it retries, until ctx ends.
func (f *Feed) Post(ctx context.Context, l Line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a line for the console: %w", err)
	}
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		_, err := f.send(ctx, http.MethodPost, f.url, append(text, '\n'))
		if err == nil || errors.Is(err, errRefused) {
			return err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("post a line to the console: %w", err)
		}
	}
}

// Download returns the lines that the console has.
func (f *Feed) Download(ctx context.Context) ([]byte, error) {
	text, err := f.send(ctx, http.MethodGet, f.url+"?format=ndjson", nil)
	if err != nil {
		return nil, fmt.Errorf("read the console's feed: %w", err)
	}
	return text, nil
}

func (f *Feed) send(ctx context.Context, method, url string, body []byte) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+f.secret)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode > 299 {
		err = fmt.Errorf("%w: %s: %s", errRefused, response.Status, text)
	}
	return text, err
}

// Close closes the idle connections.
func (f *Feed) Close() { f.client.CloseIdleConnections() }
