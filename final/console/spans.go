package console

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// span is what the console needs of a span, wherever it comes from.
type span struct {
	service string // its resource's service.name
	replica string // its resource's service.instance.id
	name    string
	kind    trace.SpanKind
	trace   string
	start   time.Time
	end     time.Time
	text    map[string]string    // attributes
	number  map[string]int64     // attributes
	events  map[string]time.Time // the last of each name
	failed  bool
	reason  string // why it failed
}

// Spans takes the spans of services that run in this process. Add it to their tracers
// with Options. It never waits: what it has no room for is left out,
// and the feed says how much.
type Spans struct {
	ended chan sdktrace.ReadOnlySpan
	left  atomic.Int64 // hops that were left out

	mu     sync.Mutex
	second int64 // that traces are counted in
	traces int
}

// hopsOfPost is how many hops a POST has, and tracesLimit how many are followed in
// one second: under load, to follow all of them would cost more than it shows.
const (
	hopsOfPost  = 8
	tracesLimit = hopsLimit / hopsOfPost
)

// NewSpans returns a processor with room for the spans of a second.
func NewSpans() *Spans { return &Spans{ended: make(chan sdktrace.ReadOnlySpan, 8*hopsLimit)} }

// Options returns those of a service's tracers. When the spans go elsewhere, too, it is
// not for the console to choose which.
func (s *Spans) Options(elsewhere bool) []sdktrace.TracerProviderOption {
	options := []sdktrace.TracerProviderOption{sdktrace.WithSpanProcessor(s)}
	if !elsewhere {
		options = append(options, sdktrace.WithSampler(s))
	}
	return options
}

// ShouldSample implements sdktrace.Sampler. It follows a number of POSTs in a second, and
// everything that happens in their traces; of what begins without a request, all.
func (s *Spans) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	parent := trace.SpanContextFromContext(p.ParentContext)
	result := sdktrace.SamplingResult{Decision: sdktrace.Drop, Tracestate: parent.TraceState()}
	follow := parent.IsSampled() || !parent.IsValid()
	if p.Kind == trace.SpanKindServer {
		follow = p.Name == "POST" && s.another()
	}
	if follow {
		result.Decision = sdktrace.RecordAndSample
	}
	return result
}

// Description implements sdktrace.Sampler.
func (s *Spans) Description() string { return "console" }

// another reports whether one more trace is to be followed in this second.
func (s *Spans) another() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if second := time.Now().Unix(); second != s.second {
		s.second, s.traces = second, 0
	}
	if s.traces == tracesLimit {
		s.left.Add(hopsOfPost)
		return false
	}
	s.traces++
	return true
}

// OnStart implements sdktrace.SpanProcessor.
func (s *Spans) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd implements sdktrace.SpanProcessor.
func (s *Spans) OnEnd(ended sdktrace.ReadOnlySpan) {
	select {
	case s.ended <- ended:
	default:
		s.left.Add(1)
	}
}

// Shutdown implements sdktrace.SpanProcessor.
func (s *Spans) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdktrace.SpanProcessor.
func (s *Spans) ForceFlush(context.Context) error { return nil }

// run passes the spans on until ctx ends.
func (s *Spans) run(ctx context.Context, take func(span), leave func(int)) {
	for {
		select {
		case <-ctx.Done():
			return
		case ended := <-s.ended:
			take(fromSDK(ended))
		}
		if left := s.left.Swap(0); left > 0 {
			leave(int(left))
		}
	}
}

func fromSDK(s sdktrace.ReadOnlySpan) span {
	converted := span{name: s.Name(), kind: s.SpanKind(), trace: s.SpanContext().TraceID().String(),
		start: s.StartTime(), end: s.EndTime(), text: map[string]string{}, number: map[string]int64{}, events: map[string]time.Time{}}
	for _, a := range s.Resource().Attributes() {
		converted.describe(string(a.Key), a.Value.String())
	}
	for _, a := range s.Attributes() {
		if a.Value.Type() == attribute.INT64 {
			converted.number[string(a.Key)] = a.Value.AsInt64()
		} else {
			converted.text[string(a.Key)] = a.Value.String()
		}
	}
	for _, event := range s.Events() {
		converted.events[event.Name] = event.Time
	}
	converted.failed, converted.reason = s.Status().Code == codes.Error, s.Status().Description
	return converted
}

// describe takes an attribute of the resource.
func (s *span) describe(name, value string) {
	switch name {
	case "service.name":
		s.service = value
	case "service.instance.id":
		s.replica = value
	}
}
