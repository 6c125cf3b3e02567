package telemetry

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
)

func TestHTTP(t *testing.T) {
	registry := NewRegistry()
	metrics := NewHTTP(registry, noop.NewTracerProvider().Tracer(""))
	server := httptest.NewServer(metrics.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/api/platforms/1":
			SetRoute(r.Context(), "/api/platforms/{id}")
		case "/abort":
			SetRoute(r.Context(), "/abort")
			panic(http.ErrAbortHandler)
		case "/disconnected":
			SetRoute(r.Context(), "/disconnected")
			SetStatus(r.Context(), 499)
			panic(http.ErrAbortHandler)
		case "/metrics":
			Metrics(registry).ServeHTTP(w, r)
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})))
	defer server.Close()
	send := func(method, path string) {
		request, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		require.NoError(t, err)
		response, err := server.Client().Do(request)
		if err == nil {
			response.Body.Close()
		}
	}
	send("GET", "/api/platforms/1")
	send("GET", "/api/platforms/1")
	send("GET", "/wp-admin.php")
	send("BREW", "/wp-login.php")
	send("GET", "/abort")
	send("GET", "/disconnected")

	response, err := server.Client().Get(server.URL + "/metrics")
	require.NoError(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	for _, line := range []string{
		`http_server_request_duration_seconds_count{method="GET",route="/api/platforms/{id}",status="200"} 2`,
		`http_server_request_duration_seconds_count{method="GET",route="other",status="404"} 1`,
		`http_server_request_duration_seconds_count{method="other",route="other",status="404"} 1`,
		`http_server_request_duration_seconds_count{method="GET",route="/abort",status="500"} `,
		`http_server_request_duration_seconds_count{method="GET",route="/disconnected",status="499"} `,
		`http_server_requests_in_flight 0`,
		`build_info{goversion="` + runtime.Version() + `",version="development"} 1`,
		`go_goroutines `,
	} {
		assert.Contains(t, string(text), line)
	}
	assert.NotContains(t, string(text), "wp-admin")
}
