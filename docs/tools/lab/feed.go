package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// line is a fact of the console's envelope, which docs/events-and-apis.md explains.
// The console adds the sequence number.
type line struct {
	Version int       `json:"v"`
	Time    time.Time `json:"time"`
	Kind    string    `json:"kind"`
	Subject string    `json:"subject"`
	Content any       `json:"content"`
}

// feed posts lines to the console, in order.
type feed struct {
	url, secret string
	lines       chan line
}

func newFeed(address, secret string) *feed {
	return &feed{url: "http://" + address + "/feed", secret: secret, lines: make(chan line, 1000)}
}

// say adds a line. It drops one that finds a thousand others waiting.
func (f *feed) say(kind, subject string, content any) {
	select {
	case f.lines <- line{1, time.Now().UTC().Truncate(time.Microsecond), kind, subject, content}:
	default:
	}
}

// post posts the lines until ctx ends, each until the console has accepted it.
func (f *feed) post(ctx context.Context) {
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}} // through no proxy
	defer client.CloseIdleConnections()
	retry := time.NewTicker(100 * time.Millisecond)
	defer retry.Stop()
	for {
		select {
		case next := <-f.lines:
			text, err := json.Marshal(next)
			for err == nil && f.send(ctx, client, append(text, '\n')) != nil {
				select {
				case <-retry.C:
				case <-ctx.Done():
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func (f *feed) send(ctx context.Context, client *http.Client, text []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, f.url, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+f.secret)
	request.Header.Set("Content-Type", "application/x-ndjson")
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode > 299 {
		return errors.New(response.Status)
	}
	return nil
}
