package console

import (
	"bytes"
	"compress/gzip"
	"encoding/hex"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/trace"
	otlp "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"microcomm/final/internal/web"
)

// maxSpans is the size of the largest body of spans once it is decompressed, in bytes.
const maxSpans = 4 << 20

// traces is POST /v1/traces: spans by OTLP over HTTP, in protobuf, as the services and
// an OpenTelemetry Collector send them.
func (s *service) traces(w http.ResponseWriter, r *http.Request) error {
	if mediaType, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); mediaType != "application/x-protobuf" {
		return web.NewProblem(http.StatusUnsupportedMediaType, "the Content-Type must be application/x-protobuf")
	}
	body, free, err := s.read(w, r)
	if err != nil {
		return err
	}
	defer free()
	if body, err = decompressed(body, r.Header.Get("Content-Encoding")); err != nil {
		return err
	}
	request := &otlp.ExportTraceServiceRequest{}
	if proto.Unmarshal(body, request) != nil {
		return web.NewProblem(http.StatusBadRequest, "the body is not an ExportTraceServiceRequest")
	}
	for _, spans := range request.GetResourceSpans() {
		var from span
		for _, a := range spans.GetResource().GetAttributes() {
			from.describe(a.GetKey(), a.GetValue().GetStringValue())
		}
		for _, scope := range spans.GetScopeSpans() {
			for _, received := range scope.GetSpans() {
				s.journey.span(fromOTLP(received, from.service, from.replica))
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
	w.WriteHeader(http.StatusOK) // an empty ExportTraceServiceResponse: all were accepted
	return nil
}

// read returns the body of r, as web.Bodies does, with an error that is a response.
func (s *service) read(w http.ResponseWriter, r *http.Request) (body []byte, free func(), err error) {
	body, free, err = s.bodies.Read(w, r)
	if refused := (*web.BodyError)(nil); errors.As(err, &refused) {
		err = refused.Problem(w)
	}
	return body, free, err
}

func decompressed(body []byte, encoding string) ([]byte, error) {
	switch encoding {
	case "", "identity":
		return body, nil
	case "gzip":
	default:
		return nil, web.NewProblem(http.StatusUnsupportedMediaType, "the Content-Encoding must be gzip, or missing")
	}
	reader, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, web.NewProblem(http.StatusBadRequest, "the body is not gzip")
	}
	text, err := io.ReadAll(io.LimitReader(reader, maxSpans+1))
	switch {
	case err != nil:
		return nil, web.NewProblem(http.StatusBadRequest, "the body is not gzip")
	case len(text) > maxSpans:
		return nil, web.NewProblem(http.StatusRequestEntityTooLarge, "the body is too large once it is decompressed")
	}
	return text, nil
}

func fromOTLP(received *tracepb.Span, service, replica string) span {
	converted := span{service: service, replica: replica, name: received.GetName(), trace: hex.EncodeToString(received.GetTraceId()),
		kind:  trace.SpanKind(received.GetKind()), // the numbers are the same
		start: time.Unix(0, int64(received.GetStartTimeUnixNano())), end: time.Unix(0, int64(received.GetEndTimeUnixNano())),
		text: map[string]string{}, number: map[string]int64{}, events: map[string]time.Time{},
		failed: received.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, reason: received.GetStatus().GetMessage()}
	for _, a := range received.GetAttributes() {
		switch value := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			converted.text[a.GetKey()] = value.StringValue
		case *common.AnyValue_BoolValue:
			converted.text[a.GetKey()] = strconv.FormatBool(value.BoolValue)
		case *common.AnyValue_IntValue:
			converted.number[a.GetKey()] = value.IntValue
		}
	}
	for _, event := range received.GetEvents() {
		converted.events[event.GetName()] = time.Unix(0, int64(event.GetTimeUnixNano()))
	}
	return converted
}
