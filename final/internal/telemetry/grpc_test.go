package telemetry

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"microcomm/final/proto"
)

// platforms has the unary call and not the stream. It keeps the span of the call.
type platforms struct {
	proto.UnimplementedGrpcPlatformServer
	handled trace.SpanContext
}

func (p *platforms) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	p.handled = trace.SpanContextFromContext(ctx)
	return &proto.PlatformResponse{}, nil
}

func TestGRPCSpans(t *testing.T) {
	recorder := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(recorder)).Tracer("")
	api := &platforms{}
	server := grpc.NewServer(GRPCServer(tracer)...)
	proto.RegisterGrpcPlatformServer(server, api)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go server.Serve(listener) // Stop waits for it
	connection, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer connection.Close()
	client := proto.NewGrpcPlatformClient(connection)

	const unary, streaming = "GrpcPlatform/GetAllPlatforms", "GrpcPlatform/StreamPlatforms"
	call, end := StartGRPCCall(t.Context(), tracer, unary)
	_, err = client.GetAllPlatforms(call, &proto.GetAllRequest{})
	require.NoError(t, err)
	end(err)
	call, end = StartGRPCCall(t.Context(), tracer, streaming)
	stream, err := client.StreamPlatforms(call, &proto.StreamPlatformsRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Error(t, err)
	end(err)
	server.GracefulStop() // the server's spans have ended

	spans := map[string]sdktrace.ReadOnlySpan{}
	for _, span := range recorder.Ended() {
		spans[span.SpanKind().String()+" "+span.Name()] = span
	}
	require.Len(t, spans, 4)
	for method, code := range map[string]codes.Code{unary: codes.Unset, streaming: codes.Error} {
		server, client := spans["server "+method], spans["client "+method]
		assert.Equal(t, client.SpanContext().SpanID(), server.Parent().SpanID(), method)
		assert.Equal(t, client.SpanContext().TraceID(), server.SpanContext().TraceID(), method)
		assert.Equal(t, code, server.Status().Code, method)
		assert.Equal(t, code, client.Status().Code, method)
	}
	assert.Equal(t, spans["server "+unary].SpanContext(), api.handled)
}
