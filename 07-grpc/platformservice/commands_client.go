package platformservice

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// commandsClient sends platforms to CommandsService over HTTP.
type commandsClient struct {
	url  string
	http *http.Client
}

// newCommandsClient returns a client that posts to url. timeout bounds one call,
// from the connection to the last byte of the response.
func newCommandsClient(url string, timeout time.Duration) *commandsClient {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // no proxy between two services, even if the environment sets one
	return &commandsClient{url: url, http: &http.Client{
		Timeout:   timeout,
		Transport: transport,
		// Most redirects would turn the POST into a GET, whose 200 would look like success.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// sendPlatform posts p and waits for the response. It returns an error when
// CommandsService cannot be reached, times out, or responds with anything but
// a 2xx.
func (c *commandsClient) sendPlatform(ctx context.Context, p platform) error {
	body, err := json.Marshal(toPlatformRead(p))
	if err != nil {
		return fmt.Errorf("encode platform: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send platform: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("send platform: %w", err)
	}
	defer response.Body.Close()
	// A connection is reused only when its response has been read to the end. One
	// with more than 4 KiB to read is not worth it.
	text, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("send platform: read response: %w", err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("send platform: CommandsService returned %s: %s", response.Status, bytes.TrimSpace(text))
	}
	return nil
}

// close closes the idle connections.
func (c *commandsClient) close() { c.http.CloseIdleConnections() }
