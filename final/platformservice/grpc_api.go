package platformservice

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"microcomm/final/internal/web"
	"microcomm/final/proto"
)

// grpcAPI handles the gRPC calls of other services.
type grpcAPI struct {
	proto.UnimplementedGrpcPlatformServer
	store    platformStore
	log      *slog.Logger
	stopping <-chan struct{} // closed when the service stops

	answers, streams callLimit // calls of GetAllPlatforms and of StreamPlatforms
}

func newGRPCAPI(store platformStore, stopping <-chan struct{}, log *slog.Logger) *grpcAPI {
	return &grpcAPI{store: store, log: log, stopping: stopping,
		answers: callLimit{most: maxAnswers, sendTimeout: sendTimeout},
		streams: callLimit{most: maxStreams, sendTimeout: sendTimeout}}
}

// errTooLarge is the response to GetAllPlatforms when there are too many.
var errTooLarge = status.Errorf(codes.ResourceExhausted, "the platforms do not fit into one message of %d bytes: call StreamPlatforms", maxResponse)

const (
	// maxPageSize is the most platforms that are read from the store at a time.
	maxPageSize = web.MaxLimit
	// maxResponse is the largest response to GetAllPlatforms, in bytes: what a client
	// accepts unless configured otherwise.
	maxResponse = 4 << 20
	// streamTimeout bounds a stream as a whole.
	streamTimeout = 10 * time.Minute
)

// GetAllPlatforms implements the call of platforms.proto: every platform in one
// message. The status is Unavailable when the store fails, and ResourceExhausted
// when the message would be too large, or too many are in memory already.
func (a *grpcAPI) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	call, ok := a.answers.begin(ctx)
	if !ok {
		return nil, status.Error(codes.ResourceExhausted, "too many calls at once; retry later, or call StreamPlatforms")
	}
	defer call.end()
	ctx, cancel := context.WithTimeout(ctx, web.RequestTimeout)
	defer cancel()
	response := &proto.PlatformResponse{}
	text := 0
	for after, more := int32(0), true; more; {
		var page []platform
		var err error
		page, more, err = a.store.platformsAfter(ctx, after, maxPageSize)
		if err != nil {
			a.log.ErrorContext(ctx, "request failed", "method", "GetAllPlatforms", "error", err)
			return nil, status.Error(codes.Unavailable, "the platforms cannot be read now")
		}
		for _, p := range page {
			response.Platform = append(response.Platform, toPlatformModel(p))
			text += len(p.Name) + len(p.Publisher)
			after = p.ID
		}
		if text > maxResponse {
			return nil, errTooLarge
		}
	}
	size := protobuf.Size(response)
	if size > maxResponse {
		return nil, errTooLarge
	}
	call.sent = int64(size)
	return response, nil
}

// StreamPlatforms implements the call of platforms.proto. It reads a page at a
// time and holds nothing of the store's between two pages: gRPC's flow control
// makes Send wait for the client, and a client that accepts no page within
// sendTimeout loses its connection. When the service stops, the stream ends with
// Unavailable, and the client resumes after the last platform that it received.
func (a *grpcAPI) StreamPlatforms(request *proto.StreamPlatformsRequest, stream grpc.ServerStreamingServer[proto.GrpcPlatformModel]) error {
	size := int(request.GetPageSize())
	if size < 1 {
		size = maxPageSize
	}
	size = min(size, maxPageSize)
	ctx, cancel := context.WithTimeout(stream.Context(), streamTimeout)
	defer cancel()
	call, ok := a.streams.begin(ctx)
	if !ok {
		return status.Error(codes.ResourceExhausted, "too many streams at once; retry later")
	}
	defer call.end()
	for after, more := request.GetAfterId(), true; more; {
		select {
		case <-a.stopping:
			return status.Error(codes.Unavailable, "the service is stopping")
		default:
		}
		var page []platform
		var err error
		page, more, err = a.readPage(ctx, after, size)
		switch {
		case ctx.Err() != nil:
			return status.FromContextError(ctx.Err()).Err()
		case err != nil:
			a.log.ErrorContext(ctx, "request failed", "method", "StreamPlatforms", "error", err)
			return status.Error(codes.Unavailable, "the platforms cannot be read now")
		}
		if err := call.sendPage(stream, page); err != nil {
			return err // the client has disconnected
		}
		if len(page) > 0 {
			after = page[len(page)-1].ID
		}
	}
	return nil
}

func (a *grpcAPI) readPage(ctx context.Context, after int32, size int) ([]platform, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, web.RequestTimeout)
	defer cancel()
	return a.store.platformsAfter(ctx, after, size)
}

func toPlatformModel(p platform) *proto.GrpcPlatformModel {
	return &proto.GrpcPlatformModel{PlatformId: p.ID, Name: p.Name, Publisher: p.Publisher}
}
