package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/requestid"
)

func env(values map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func TestLogger(t *testing.T) {
	t.Run("adds the ids that the context carries", func(t *testing.T) {
		var out bytes.Buffer
		log, err := NewLogger(&out, env(map[string]string{"LOG_FORMAT": "json"}))
		require.NoError(t, err)
		ctx := requestid.With(context.Background(), "request 1")
		ctx = trace.ContextWithSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
		log.With("service", "x").InfoContext(ctx, "hello")
		var line map[string]string
		require.NoError(t, json.Unmarshal(out.Bytes(), &line))
		assert.Equal(t, "request 1", line["request_id"])
		assert.Equal(t, "01000000000000000000000000000000", line["trace_id"])
		assert.Equal(t, "0200000000000000", line["span_id"])
		assert.Equal(t, "x", line["service"])
	})

	t.Run("has a text format and a level", func(t *testing.T) {
		var out bytes.Buffer
		log, err := NewLogger(&out, env(map[string]string{"LOG_LEVEL": "warn"}))
		require.NoError(t, err)
		log.Info("not shown")
		log.Warn("shown")
		assert.Contains(t, out.String(), `level=WARN msg=shown`)
		assert.NotContains(t, out.String(), "not shown")
	})

	for name, value := range map[string]string{"LOG_LEVEL": "loud", "LOG_FORMAT": "xml"} {
		t.Run("names "+name+" when it is wrong", func(t *testing.T) {
			log, err := NewLogger(&bytes.Buffer{}, env(map[string]string{name: value}))
			assert.ErrorContains(t, err, name)
			assert.NotNil(t, log)
		})
	}

	t.Run("names both, in the format that is right", func(t *testing.T) {
		_, err := NewLogger(&bytes.Buffer{}, env(map[string]string{"LOG_LEVEL": "loud", "LOG_FORMAT": "xml"}))
		require.ErrorContains(t, err, "LOG_LEVEL")
		require.ErrorContains(t, err, "LOG_FORMAT")
		var out bytes.Buffer
		log, err := NewLogger(&out, env(map[string]string{"LOG_LEVEL": "loud", "LOG_FORMAT": "json"}))
		log.Error("wrong settings", "error", err)
		assert.True(t, json.Valid(out.Bytes()), out.String())
	})
}
