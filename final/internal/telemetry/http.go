package telemetry

import (
	"context"
	"net/http"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/version"
)

// NewRegistry returns a registry with the metrics of Go and of the process, and with
// build_info, whose labels say which version this is.
func NewRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "build_info",
		Help:        "Always 1. The labels say which version is running.",
		ConstLabels: prometheus.Labels{"version": version.Name(), "goversion": runtime.Version()},
	})
	build.Set(1)
	registry.MustRegister(build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// HTTP measures the requests of a service, and makes a span for each.
type HTTP struct {
	tracer   trace.Tracer
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// NewHTTP registers the metrics of HTTP requests. Their spans are tracer's.
func NewHTTP(registry *prometheus.Registry, tracer trace.Tracer) *HTTP {
	h := &HTTP{
		tracer: tracer,
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "http_server_request_duration_seconds",
			Help:    "From the request's header to the end of the response. A route is a template, never a path.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"method", "route", "status"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "http_server_requests_in_flight",
			Help: "Requests that are being handled.",
		}),
	}
	registry.MustRegister(h.duration, h.inFlight)
	return h
}

type observedKey struct{}

// observed is what a request counts as.
type observed struct {
	route  string
	status int // instead of the response's; 0: no other
}

// SetRoute says which route, as a template such as /api/platforms/{id}, the
// request of ctx is for. Requests for none count as the route "other": a path
// is the client's choice, and each would be another time series.
func SetRoute(ctx context.Context, route string) {
	if o, ok := ctx.Value(observedKey{}).(*observed); ok {
		o.route = route
	}
}

// SetStatus says which status the request of ctx counts as, when its client does
// not get the response.
func SetStatus(ctx context.Context, status int) {
	if o, ok := ctx.Value(observedKey{}).(*observed); ok {
		o.status = status
	}
}

// Metrics returns what serves the metrics of registry.
func Metrics(registry *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Handler measures the requests that next handles, all but those for the metrics
// themselves. Their spans continue the trace of the header traceparent. Probes have
// none: they would hide the rest.
func (h *HTTP) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			next.ServeHTTP(w, r)
			return
		}
		began := time.Now()
		h.inFlight.Inc()
		observed := &observed{route: "other"}
		ctx := context.WithValue(r.Context(), observedKey{}, observed)
		span := trace.SpanFromContext(ctx) // that of nothing
		if r.URL.Path != "/livez" && r.URL.Path != "/readyz" {
			ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(r.Header))
			ctx, span = h.tracer.Start(ctx, method(r.Method), trace.WithSpanKind(trace.SpanKindServer))
		}
		recorder := &statusRecorder{ResponseWriter: w, status: http.StatusOK}
		returned := false
		defer func() { // also after a panic, which closes the connection
			status := recorder.status
			if observed.status != 0 {
				status = observed.status
			} else if !returned {
				status = http.StatusInternalServerError
			}
			h.inFlight.Dec()
			h.duration.WithLabelValues(method(r.Method), observed.route, strconv.Itoa(status)).Observe(time.Since(began).Seconds())
			endSpan(span, method(r.Method), observed.route, status)
		}()
		next.ServeHTTP(recorder, r.WithContext(ctx))
		returned = true
	})
}

func endSpan(span trace.Span, method, route string, status int) {
	if span.IsRecording() {
		span.SetName(method + " " + route)
		span.SetAttributes(attribute.String("http.request.method", method),
			attribute.String("http.route", route), attribute.Int("http.response.status_code", status))
		if status >= http.StatusInternalServerError {
			span.SetStatus(codes.Error, "")
		}
	}
	span.End()
}

// method returns one of a few names, for the same reason as SetRoute.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "other"
}

// statusRecorder remembers the status of the response.
type statusRecorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *statusRecorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap is for http.ResponseController.
func (r *statusRecorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }
