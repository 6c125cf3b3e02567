package telemetry

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
		{map[string]string{endpoint: "http://h:4318", "OTEL_TRACES_EXPORTER": "none"}, "", ""},
		{map[string]string{endpoint: "h:4318"}, "", endpoint},
		{map[string]string{endpoint: "http://h:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "udp"}, "", "OTEL_EXPORTER_OTLP_PROTOCOL"},
	} {
		exporter, err := ExporterFromEnv(env(row.env))
		if row.wrong != "" {
			assert.ErrorContains(t, err, row.wrong)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, row.protocol, exporter.protocol)
	}
}
