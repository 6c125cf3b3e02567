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

// newCommandsClient returns a client that posts to url. A call takes no longer
// than timeout, the reading of the answer included.
func newCommandsClient(url string, timeout time.Duration) *commandsClient {
	return &commandsClient{url: url, http: &http.Client{
		Timeout: timeout,
		// To follow a redirect would mean to GET, and to take a 200 for success.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// SendPlatform posts p and waits for the answer. It returns an error when
// CommandsService cannot be reached, does not answer in time, or answers
// anything but a 2xx.
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
	// A connection is used again only when its answer was read to the end.
	answer, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if err != nil {
		return fmt.Errorf("send platform: read answer: %w", err)
	}
	if response.StatusCode < 200 || response.StatusCode > 299 {
		return fmt.Errorf("send platform: CommandsService answered %s: %s", response.Status, bytes.TrimSpace(answer))
	}
	return nil
}
