package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// client reads the lists of the services: at the end, or now and then, and from the
// first replica that responds.
type client struct {
	http *http.Client
}

func newClient(b *bearer) *client {
	return &client{http: &http.Client{
		Timeout:   3 * time.Minute, // a list can be long
		Transport: authorized{&http.Transport{DisableKeepAlives: true}, b},
	}}
}

// list returns the platforms that the first of the services to respond lists at path.
func (c *client) list(ctx context.Context, services []*service, path string) ([]platform, error) {
	var platforms []platform
	err := fmt.Errorf("no service is up to ask for %s", path)
	for _, s := range services {
		if s.down.Load() {
			continue // a suspended one would never answer
		}
		platforms = nil
		if err = c.get(ctx, s.url+path, func(body io.Reader) error {
			return json.NewDecoder(body).Decode(&platforms)
		}); err == nil {
			return platforms, nil
		}
	}
	return nil, err
}

// get calls read with the body of a 200. Any other status is an error.
func (c *client) get(ctx context.Context, url string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s", url, response.Status)
	}
	if err := read(response.Body); err != nil {
		return fmt.Errorf("GET %s: %w", url, err)
	}
	return nil
}

// responds returns an error unless a GET of url soon returns 200.
func (c *client) responds(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	return c.get(ctx, url, func(io.Reader) error { return nil })
}

// create posts one platform outside the load, and returns the status.
func (c *client) create(ctx context.Context, target *service, name string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	defer cancel()
	request, err := newPost(ctx, target.url, name)
	if err != nil {
		return 0, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	return response.StatusCode, nil
}
