package e2e

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// collector receives spans by OTLP over HTTP, as an OpenTelemetry Collector does.
type collector struct {
	url string

	mu    sync.Mutex
	spans map[string][]*tracepb.Span // by "SERVICE: NAME"
}

func startCollector(t *testing.T) *collector {
	c := &collector{spans: map[string][]*tracepb.Span{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	c.url = server.URL
	return c
}

// env returns the settings of a service that sends its spans here.
func (c *collector) env() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.url, "OTEL_BSP_SCHEDULE_DELAY=50"}
}

// ServeHTTP implements http.Handler.
func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	request := &otlp.ExportTraceServiceRequest{}
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, request) != nil {
		http.Error(w, "not an export of spans", http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range request.ResourceSpans {
		service := ""
		for _, attribute := range resource.Resource.Attributes {
			if attribute.Key == "service.name" {
				service = attribute.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			for _, span := range scope.Spans {
				name := service + ": " + span.Name
				c.spans[name] = append(c.spans[name], span)
			}
		}
	}
}

// wait waits for spans of these names, "SERVICE: NAME": the first has no parent, and
// each other is a child of the one before. There may be others of these names, of
// attempts that failed.
func (c *collector) wait(t *testing.T, names ...string) []*tracepb.Span {
	t.Helper()
	var found []*tracepb.Span
	eventually(t, "the spans "+strings.Join(names, ", "), func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		found = c.line(nil, names)
		return found != nil
	})
	for _, span := range found {
		require.Equal(t, found[0].TraceId, span.TraceId, span.Name)
	}
	return found
}

// line returns spans of these names, the first of them a child of parent and each other
// of the one before, or nil when there are none.
func (c *collector) line(parent *tracepb.Span, names []string) []*tracepb.Span {
	for _, span := range c.spans[names[0]] {
		if string(span.ParentSpanId) != string(parent.GetSpanId()) {
			continue
		}
		if len(names) == 1 {
			return []*tracepb.Span{span}
		}
		if rest := c.line(span, names[1:]); rest != nil {
			return append([]*tracepb.Span{span}, rest...)
		}
	}
	return nil
}

// waitPost waits for the spans of one POST, from PlatformService to
// CommandsService's store, and returns the first.
func (c *collector) waitPost(t *testing.T) *tracepb.Span {
	t.Helper()
	const post, publish = "platformservice: POST /api/platforms", "platformservice: publish Platform_Published"
	spans := c.wait(t, post, publish, "commandsservice: process Platform_Published", "commandsservice: store platforms")
	c.wait(t, post, publish, "commandsservice: settle Platform_Published")
	assert.Equal(t, tracepb.Span_SPAN_KIND_SERVER, spans[0].Kind)
	assert.Equal(t, tracepb.Span_SPAN_KIND_PRODUCER, spans[1].Kind)
	assert.Equal(t, tracepb.Span_SPAN_KIND_CONSUMER, spans[2].Kind)
	return spans[0]
}

// waitBackfill waits for the spans of a backfill, in both services.
func (c *collector) waitBackfill(t *testing.T) {
	t.Helper()
	spans := c.wait(t, "commandsservice: GrpcPlatform/StreamPlatforms", "platformservice: GrpcPlatform/StreamPlatforms")
	assert.Equal(t, tracepb.Span_SPAN_KIND_CLIENT, spans[0].Kind)
	assert.Equal(t, tracepb.Span_SPAN_KIND_SERVER, spans[1].Kind)
}

func TestOnePostIsOneTrace(t *testing.T) {
	requireBroker(t)
	c := startCollector(t)
	s := local(t, append(c.env(), "SEED_DATA=false")...)
	s.callCommandsService()
	s.platforms.start(t)
	s.commands.start(t)
	s.commands.connected(t, 0)
	s.platforms.connected(t, 0)
	createPlatform(t, s, "Docker")

	post := c.waitPost(t)
	c.wait(t, "platformservice: POST /api/platforms", "platformservice: POST", "commandsservice: POST /api/c/platforms") // as in chapter 02
	c.waitBackfill(t)

	id := "trace_id=" + hex.EncodeToString(post.TraceId)
	for service, message := range map[*service]string{s.platforms: "platform created", s.commands: "platform received by event"} {
		eventually(t, service.name+" logs the trace", func() bool {
			for line := range strings.Lines(service.logs.String()) {
				if strings.Contains(line, message) && strings.Contains(line, id) {
					return true
				}
			}
			return false
		})
	}
}

// TestTracesOfOneProcess: microcomm's services send spans as they do apart.
func TestTracesOfOneProcess(t *testing.T) {
	c := startCollector(t)
	s := local(t)
	addr := freeAddrs(t, 1)[0]
	s.platforms = newService(t, "microcomm", "http://"+addr, append(c.env(), "SEED_DATA=false", "GATEWAY_ADDR="+addr))
	s.platforms.launch(t)
	eventually(t, "the gateway", func() bool {
		s.platforms.requireRunning(t)
		status, _, err := s.platforms.send(http.MethodGet, "/api/platforms", "")
		return err == nil && status == http.StatusOK
	})
	createPlatform(t, s, "Docker")
	c.waitPost(t)
	c.waitBackfill(t)
	require.NoError(t, s.platforms.stop(t))
}
