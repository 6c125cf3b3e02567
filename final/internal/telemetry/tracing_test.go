package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"
)

// TestTracing sends spans to a receiver of OTLP over HTTP.
func TestTracing(t *testing.T) {
	received := make(chan *collector.ExportTraceServiceRequest, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		assert.Equal(t, "/v1/traces", r.URL.Path)
		request := &collector.ExportTraceServiceRequest{}
		assert.NoError(t, proto.Unmarshal(body, request))
		received <- request
	}))
	defer receiver.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.URL) // the exporter reads the environment itself
	exporter, err := ExporterFromEnv(env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.URL}))
	require.NoError(t, err)
	log, err := NewLogger(&bytes.Buffer{}, env(nil))
	require.NoError(t, err)
	tracers, stop, err := exporter.Start(t.Context(), "testservice", "1.2.3", log)
	require.NoError(t, err)
	server := httptest.NewServer(NewHTTP(NewRegistry(), tracers.Tracer("test")).Handler(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			SetRoute(r.Context(), "/api/platforms/{id}")
			w.WriteHeader(http.StatusServiceUnavailable)
		})))
	for _, path := range []string{"/livez", "/api/platforms/4"} {
		request, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+path, nil)
		require.NoError(t, err)
		request.Header.Set("traceparent", "00-0102030405060708090a0b0c0d0e0f10-0102030405060708-01")
		response, err := server.Client().Do(request)
		require.NoError(t, err)
		response.Body.Close()
	}
	server.Close() // the handlers have ended
	stop()
	require.Len(t, received, 1)
	spans := (<-received).ResourceSpans[0]
	assert.Contains(t, spans.Resource.String(), "testservice")
	require.Len(t, spans.ScopeSpans[0].Spans, 1, "a probe has no span")
	span := spans.ScopeSpans[0].Spans[0]
	assert.Equal(t, "GET /api/platforms/{id}", span.Name)
	assert.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, span.TraceId)
	assert.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8}, span.ParentSpanId)
	assert.NotContains(t, span.String(), "platforms/4")
}

// A receiver that is down may be so for hours, and spans are sent several times a second.
func TestReceiverThatIsDownIsLoggedOnce(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, env(nil))
	require.NoError(t, err)
	receiver := &failingExporter{}
	logged := &loggedExporter{SpanExporter: receiver, log: log}
	for _, receiver.err = range []error{nil, errors.New("refused"), errors.New("refused"), nil, nil, errors.New("refused")} {
		require.NoError(t, logged.ExportSpans(t.Context(), make([]sdktrace.ReadOnlySpan, 10)))
	}
	assert.Equal(t, 2, strings.Count(out.String(), "spans not sent"), out.String())
	assert.Equal(t, 1, strings.Count(out.String(), `"spans sent again" lost=20`), out.String())
}

type failingExporter struct {
	sdktrace.SpanExporter
	err error
}

func (e *failingExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error { return e.err }

func TestMessagesOfTheSDKAreInTheLog(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	exporter, err := ExporterFromEnv(env(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}))
	require.NoError(t, err)
	var out bytes.Buffer
	log, err := NewLogger(&out, env(map[string]string{"LOG_FORMAT": "json"}))
	require.NoError(t, err)
	_, stop, err := exporter.Start(t.Context(), "testservice", "1.2.3", log)
	require.NoError(t, err)
	defer stop()
	otel.Handle(errors.New("the SDK is out of sorts"))
	var line map[string]any
	require.NoError(t, json.Unmarshal(out.Bytes(), &line), out.String())
	assert.Equal(t, "the SDK is out of sorts", line["error"])
}

func TestExporterFromEnv(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT"
	for _, row := range []struct {
		env      map[string]string
		protocol string
		wrong    string
	}{
		{nil, "", ""},
		{map[string]string{endpoint: ""}, "", ""},
		{map[string]string{endpoint: "http://h:4318"}, "http/protobuf", ""},
		{map[string]string{endpoint: "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "grpc", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_SDK_DISABLED": "true"}, "", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_SDK_DISABLED": "TRUE"}, "", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_SDK_DISABLED": "1"}, "http/protobuf", ""}, // not true, says the specification
		{map[string]string{endpoint: "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, "", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_RESOURCE_ATTRIBUTES": "a=b, c=%2C ,d="}, "http/protobuf", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20x,y=z"}, "http/protobuf", ""},
		{map[string]string{endpoint: "http://h:4318", "OTEL_TRACES_SAMPLER": "ParentBased_TraceIDRatio", "OTEL_TRACES_SAMPLER_ARG": "0.01"}, "http/protobuf", ""},
		{map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "without tracing nothing reads it"}, "", ""},
		{map[string]string{endpoint: "h:4318"}, "", endpoint},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "udp"}, "", "OTEL_EXPORTER_OTLP_PROTOCOL"},
		{map[string]string{endpoint: "http://h:99999"}, "", endpoint},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318"}, "http/protobuf", ""},
		{map[string]string{endpoint: "http://u:s3cret%@h", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h:4318"}, "", endpoint},
		{map[string]string{endpoint: "http://h:4318", "OTEL_RESOURCE_ATTRIBUTES": "a=b,s3cret"}, "", "OTEL_RESOURCE_ATTRIBUTES"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_RESOURCE_ATTRIBUTES": "a=s3cret%zz"}, "", "OTEL_RESOURCE_ATTRIBUTES"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_HEADERS": "s3cret"}, "", "OTEL_EXPORTER_OTLP_HEADERS"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "a b=s3cret"}, "", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, "", "OTEL_EXPORTER_OTLP_TIMEOUT"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_COMPRESSION": "zip"}, "", "OTEL_EXPORTER_OTLP_COMPRESSION"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": "missing.pem"}, "", "OTEL_EXPORTER_OTLP_CERTIFICATE"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_TRACES_SAMPLER": "sometimes"}, "", "OTEL_TRACES_SAMPLER"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "2"}, "", "OTEL_TRACES_SAMPLER_ARG"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "", "OTEL_BSP_MAX_QUEUE_SIZE"},
		{map[string]string{endpoint: "http://h:4318", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "x"}, "", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"},
	} {
		exporter, err := ExporterFromEnv(env(row.env))
		if row.wrong != "" {
			assert.ErrorContains(t, err, row.wrong)
			assert.NotContains(t, fmt.Sprint(err), "s3cret")
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, row.protocol, exporter.protocol)
	}
}
