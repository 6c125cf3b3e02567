package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// flushTimeout bounds how long the spans that are left hold up the stop.
const flushTimeout = 3 * time.Second

// Exporter says where spans go.
type Exporter struct {
	protocol string // grpc or http/protobuf; empty: nowhere
}

// ExporterFromEnv reads the OTEL_* variables that choose an exporter, as
// https://opentelemetry.io/docs/specs/otel/protocol/exporter/ names them.
// Without an endpoint there is none. The exporter and the SDK read the others
// themselves (headers, certificate, sampler, resource attributes); the error
// names those that are wrong, without their values.
func ExporterFromEnv(lookup func(string) (string, bool)) (Exporter, error) {
	text := func(names ...string) string {
		for _, name := range names {
			if value, _ := lookup(name); value != "" {
				return value
			}
		}
		return ""
	}
	endpoint := text("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || strings.EqualFold(text("OTEL_SDK_DISABLED"), "true") || strings.EqualFold(text("OTEL_TRACES_EXPORTER"), "none") {
		return Exporter{}, nil
	}
	protocol := text("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
	if protocol == "" {
		protocol = "http/protobuf"
	}
	return Exporter{protocol: protocol}, checkOTEL(lookup)
}

// Sends reports whether spans go anywhere.
func (e Exporter) Sends() bool { return e.protocol != "" }

// Start returns a provider of tracers whose spans are sent in the background,
// under the name service unless OTEL_SERVICE_NAME says otherwise. stop sends
// the spans that are left; it takes no longer than a few seconds. Options, such as a
// processor that also gets the spans, go to the provider, also when nothing is sent.
func (e Exporter) Start(ctx context.Context, service, version string, log *slog.Logger, options ...sdktrace.TracerProviderOption) (provider trace.TracerProvider, stop func(), err error) {
	if e.protocol == "" && len(options) == 0 {
		return noop.NewTracerProvider(), func() {}, nil
	}
	if e.protocol == "" {
		described := resource.NewSchemaless(attribute.String("service.name", service))
		return sdktrace.NewTracerProvider(append(options, sdktrace.WithResource(described))...), func() {}, nil
	}
	// OpenTelemetry reports its own faults to the process, not to a provider: this is
	// the one place that sets where they go.
	otel.SetLogger(logr.FromSlogHandler(log.Handler()))
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("tracing failed", "error", err) }))
	var exporter sdktrace.SpanExporter
	if e.protocol == "grpc" {
		exporter, err = otlptracegrpc.New(ctx)
	} else {
		exporter, err = otlptracehttp.New(ctx)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("start the exporter of traces: %w", err)
	}
	described, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", service), attribute.String("service.version", version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("read OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	sdk := sdktrace.NewTracerProvider(append(options, sdktrace.WithBatcher(&loggedExporter{SpanExporter: exporter, log: log}), sdktrace.WithResource(described))...)
	return sdk, func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
		defer cancel()
		if err := sdk.Shutdown(ctx); err != nil {
			log.Warn("spans not sent at stop", "error", err)
		}
	}, nil
}

// loggedExporter logs an error instead of giving it to OpenTelemetry's global
// error handler: the first one of a receiver that is down, and not several a second.
type loggedExporter struct {
	sdktrace.SpanExporter
	log  *slog.Logger
	lost int // spans, since the first error; the SDK exports one batch at a time
}

func (e *loggedExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err == nil && e.lost > 0:
		e.log.Info("spans sent again", "lost", e.lost)
		e.lost = 0
	case err != nil && e.lost == 0:
		e.log.Warn("spans not sent", "count", len(spans), "error", err)
	}
	if err != nil {
		e.lost += len(spans)
	}
	return nil
}
