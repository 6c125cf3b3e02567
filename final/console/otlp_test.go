package console

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// exported returns a POST's span as an exporter sends it.
func exported(t *testing.T, name string) string {
	t.Helper()
	text := func(key, value string) *common.KeyValue {
		return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
	}
	number := func(key string, value int64) *common.KeyValue {
		return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: value}}}
	}
	body, err := proto.Marshal(&otlp.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{text("service.name", "platformservice"), text("service.instance.id", "pod-1")}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{{
			TraceId: bytes.Repeat([]byte{1}, 16), SpanId: bytes.Repeat([]byte{2}, 8), Name: "POST /api/platforms", Kind: tracepb.Span_SPAN_KIND_SERVER,
			StartTimeUnixNano: 1e18, EndTimeUnixNano: 1e18 + 2e6,
			Attributes: []*common.KeyValue{text("http.request.method", "POST"), text("http.route", "/api/platforms"),
				number("http.response.status_code", 201), number("microcomm.platform.id", 7), text("microcomm.platform.name", name)},
		}}}},
	}}})
	require.NoError(t, err)
	return string(body)
}

func zipped(t *testing.T, text string) string {
	t.Helper()
	var to bytes.Buffer
	w := gzip.NewWriter(&to)
	_, err := w.Write([]byte(text))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return to.String()
}

const protobuf = "application/x-protobuf"

func TestSpansArriveByOTLP(t *testing.T) {
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/"}, Parts{})
	feed := read(t, url, "")
	for name, request := range map[string][2]string{
		"plain":      {exported(t, "plain"), ""},
		"compressed": {zipped(t, exported(t, "compressed")), "gzip"},
	} {
		got := testkit.Send(t, "POST", url+"/v1/traces", request[0], "Content-Type", protobuf, "Content-Encoding", request[1])
		require.Equal(t, http200, got.Status, got.Body)
		lines := feed.hop("accepted", name)
		last := lines[len(lines)-1]
		require.Equal(t, "platform/7", last.Subject)
		require.EqualValues(t, 2, last.Content.MS)
		require.Equal(t, "span", last.Content.From)
	}
}

// An exporter that gets a 503 sends nothing more for some seconds.
func TestSpansThatAreSentBeforeTheConsoleIsReadyAreTaken(t *testing.T) {
	slowLab := testkit.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		<-time.After(100 * time.Millisecond)
		_, _ = w.Write([]byte(`{"faults":[]}`))
	}))
	listener, status := listen(t), make(chan int, 1)
	request := testkit.NewRequest(t, "POST", "http://"+listener.Addr().String()+"/v1/traces", strings.NewReader(exported(t, "early")))
	request.Header.Set("Content-Type", protobuf)
	go func() {
		response, err := http.DefaultClient.Do(request)
		if assert.NoError(t, err) {
			response.Body.Close()
			status <- response.StatusCode
		}
	}()
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/", "CONSOLE_CONTROL_URL": slowLab, "CONSOLE_CONTROL_SECRET": testSecret},
		Parts{HTTPListener: listener})
	require.Equal(t, http200, testkit.Receive(t, "the response", status))
	lines := read(t, url, "").hop("accepted", "early")
	assert.Equal(t, "run", lines[0].Kind)
}

func TestHostileSpansAreRefused(t *testing.T) {
	url, _ := startConsole(t, map[string]string{"RABBITMQ_URL": "amqp://localhost:1/"}, Parts{})
	for what, row := range map[string]struct {
		body, contentType, encoding string
		status                      int
	}{
		"too large":                  {strings.Repeat("x", web.MaxBody+1), protobuf, "", http.StatusRequestEntityTooLarge},
		"too large once it unpacked": {zipped(t, strings.Repeat("x", maxSpans+1)), protobuf, "gzip", http.StatusRequestEntityTooLarge},
		"no protobuf":                {"not protobuf", protobuf, "", http.StatusBadRequest},
		"cut off":                    {exported(t, "x")[:20], protobuf, "", http.StatusBadRequest},
		"no gzip":                    {"not gzip", protobuf, "gzip", http.StatusBadRequest},
		"gzip cut off":               {zipped(t, exported(t, "x"))[:30], protobuf, "gzip", http.StatusBadRequest},
		"another encoding":           {"x", protobuf, "br", http.StatusUnsupportedMediaType},
		"JSON":                       {"{}", "application/json", "", http.StatusUnsupportedMediaType},
		"a page's form":              {"x", "text/plain", "", http.StatusUnsupportedMediaType},
	} {
		t.Run(what, func(t *testing.T) {
			got := testkit.Send(t, "POST", url+"/v1/traces", row.body, "Content-Type", row.contentType, "Content-Encoding", row.encoding)
			testkit.RequireProblem(t, got, row.status)
		})
	}
	// Spans of a program that says nothing of itself, with names of its own choice.
	empty, err := proto.Marshal(&otlp.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{nil, {ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
		{}, {Kind: tracepb.Span_SPAN_KIND_PRODUCER, Name: "publish x"}, {Kind: 99, Name: "settle x"}}}}}}})
	require.NoError(t, err)
	require.Equal(t, http200, testkit.Send(t, "POST", url+"/v1/traces", string(empty), "Content-Type", protobuf).Status)
	require.Equal(t, http200, testkit.Send(t, "GET", url+"/readyz", "").Status)
}
