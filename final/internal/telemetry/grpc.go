package telemetry

import (
	"context"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// StartGRPCCall begins the span of a call that a client makes, such as
// GrpcPlatform/GetAllPlatforms. A call with the context that it returns carries
// its trace. end ends it with what the call returned.
func StartGRPCCall(ctx context.Context, tracer trace.Tracer, method string) (call context.Context, end func(error)) {
	ctx, span := startRPC(ctx, tracer, method, trace.SpanKindClient)
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carrier)
	for name, value := range carrier {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	return ctx, func(err error) { endRPC(span, err) }
}

// GRPCServer returns the options of a server that makes a span for each call, of
// the client's trace. A stream is one call, however many messages it has.
func GRPCServer(tracer trace.Tracer) []grpc.ServerOption {
	start := func(ctx context.Context, method string) (context.Context, trace.Span) {
		received, _ := metadata.FromIncomingContext(ctx)
		carrier := propagation.MapCarrier{}
		for _, name := range (propagation.TraceContext{}).Fields() {
			carrier[name] = strings.Join(received.Get(name), ",")
		}
		ctx = propagation.TraceContext{}.Extract(ctx, carrier)
		return startRPC(ctx, tracer, strings.TrimPrefix(method, "/"), trace.SpanKindServer)
	}
	return []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			ctx, span := start(ctx, info.FullMethod)
			response, err := handle(ctx, request)
			endRPC(span, err)
			return response, err
		}),
		grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
			ctx, span := start(stream.Context(), info.FullMethod)
			err := handle(server, tracedStream{stream, ctx})
			endRPC(span, err)
			return err
		}),
	}
}

// tracedStream is a stream whose context has a span.
type tracedStream struct {
	grpc.ServerStream
	ctx context.Context
}

// Context implements grpc.ServerStream.
func (s tracedStream) Context() context.Context { return s.ctx }

func startRPC(ctx context.Context, tracer trace.Tracer, method string, kind trace.SpanKind) (context.Context, trace.Span) {
	return tracer.Start(ctx, method, trace.WithSpanKind(kind),
		trace.WithAttributes(attribute.String("rpc.system.name", "grpc"), attribute.String("rpc.method", method)))
}

func endRPC(span trace.Span, err error) {
	span.SetAttributes(attribute.String("rpc.response.status_code", status.Code(err).String()))
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
