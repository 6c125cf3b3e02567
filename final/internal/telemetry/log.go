// Package telemetry is what operators see of a service: its log and its metrics.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/requestid"
)

// NewLogger returns a logger that writes to w as LOG_FORMAT (text or json) and
// LOG_LEVEL (debug, info, warn or error) say, which lookup, os.LookupEnv, reads.
// With an error, which names those that are wrong, it uses their defaults.
// A line that is logged with the context of a request or of a message has its
// request_id, trace_id and span_id.
func NewLogger(w io.Writer, lookup func(string) (string, bool)) (*slog.Logger, error) {
	var levelErr, formatErr error
	level := slog.LevelInfo
	if text, ok := lookup("LOG_LEVEL"); ok {
		if err := level.UnmarshalText([]byte(text)); err != nil {
			levelErr = fmt.Errorf("LOG_LEVEL: %q is none of debug, info, warn, error", text)
		}
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewTextHandler(w, options)
	switch format, ok := lookup("LOG_FORMAT"); {
	case !ok || format == "text":
	case format == "json":
		handler = slog.NewJSONHandler(w, options)
	default:
		formatErr = fmt.Errorf("LOG_FORMAT: %q is neither text nor json", format)
	}
	return slog.New(contextHandler{handler}), errors.Join(levelErr, formatErr)
}

// contextHandler adds what the context of a line carries.
type contextHandler struct{ slog.Handler }

// Handle implements slog.Handler.
func (h contextHandler) Handle(ctx context.Context, record slog.Record) error {
	if id := requestid.From(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h contextHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return contextHandler{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h contextHandler) WithGroup(name string) slog.Handler {
	return contextHandler{h.Handler.WithGroup(name)}
}
