package platformservice

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/requestid"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
)

// commandsClient sends platforms to CommandsService over HTTP.
type commandsClient struct {
	url    string
	http   *http.Client
	tracer trace.Tracer
}

// newCommandsClient returns a client that posts to address, with files when that is an
// https URL. timeout bounds one call, from the connection to the last byte of the
// response.
func newCommandsClient(address string, timeout time.Duration, files tlsconfig.Files, tracer trace.Tracer) (*commandsClient, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil // no proxy between two services, even if the environment sets one
	var err error
	if transport.TLSClientConfig, err = files.Client(); err != nil {
		return nil, err
	}
	return &commandsClient{url: address, tracer: tracer, http: &http.Client{
		Timeout:   timeout,
		Transport: transport,
		// Most redirects would turn the POST into a GET, whose 200 would look like success.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// sendPlatform posts p and waits for the response. It returns an error when
// CommandsService cannot be reached, times out, or responds with anything but
// a 2xx.
func (c *commandsClient) sendPlatform(ctx context.Context, p platform) (err error) {
	ctx, span := c.tracer.Start(ctx, http.MethodPost, trace.WithSpanKind(trace.SpanKindClient))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	body, err := json.Marshal(toPlatformRead(p))
	if err != nil {
		return fmt.Errorf("encode platform: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("send platform: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if authorization := web.Authorization(ctx); authorization != "" { // its scope is the one needed there
		request.Header.Set("Authorization", authorization)
	}
	request.Header.Set(requestid.Header, requestid.From(ctx)) // one id in the logs of both
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(request.Header))
	response, err := c.http.Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) { // without the URL, which may hold a token
			err = failed.Err
		}
		return fmt.Errorf("send platform: %w", err)
	}
	defer response.Body.Close()
	span.SetAttributes(attribute.Int("http.response.status_code", response.StatusCode))
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
