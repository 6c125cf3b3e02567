package platformservice

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/final/proto"
)

// grpcAPI handles the gRPC calls of other services.
type grpcAPI struct {
	proto.UnimplementedGrpcPlatformServer
	store    platformStore
	log      *slog.Logger
	stopping <-chan struct{} // closed when the service stops
}

// errStopping ends a stream when the service stops.
var errStopping = errors.New("the service is stopping")

// How many platforms are read from the store at a time.
const (
	defaultPageSize = 1000
	maxPageSize     = 10_000
)

// GetAllPlatforms implements the call of platforms.proto: every platform in one
// message. A client accepts at most 4 MiB unless configured otherwise. The
// status is Unavailable when the store fails.
func (a *grpcAPI) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	platforms, err := a.store.platforms(ctx)
	if err != nil {
		a.log.ErrorContext(ctx, "request failed", "method", "GetAllPlatforms", "error", err)
		return nil, status.Error(codes.Unavailable, "the platforms cannot be read now")
	}
	response := &proto.PlatformResponse{}
	for _, p := range platforms {
		response.Platform = append(response.Platform, toPlatformModel(p))
	}
	return response, nil
}

// StreamPlatforms implements the call of platforms.proto. It reads a page at a
// time and holds nothing of the store's between two pages, so that a client may
// take as long as it likes: gRPC's flow control makes Send wait for it. The next
// page is read while one is sent. When the service stops, the stream ends with
// Unavailable; the client resumes after the last platform that it has got.
func (a *grpcAPI) StreamPlatforms(request *proto.StreamPlatformsRequest, stream grpc.ServerStreamingServer[proto.GrpcPlatformModel]) error {
	size := int(request.GetPageSize())
	if size < 1 {
		size = defaultPageSize
	}
	size = min(size, maxPageSize)
	ctx, cancel := context.WithCancel(stream.Context())
	pages := make(chan []platform)
	var reading sync.WaitGroup
	var failed error
	reading.Go(func() {
		defer close(pages)
		failed = a.readPages(ctx, request.GetAfterId(), size, pages)
	})
	defer reading.Wait()
	defer cancel()
	for page := range pages {
		for _, p := range page {
			if err := stream.Send(toPlatformModel(p)); err != nil {
				return err // the client is gone
			}
		}
	}
	if errors.Is(failed, errStopping) {
		return status.Error(codes.Unavailable, errStopping.Error())
	}
	if failed != nil && ctx.Err() == nil {
		a.log.ErrorContext(ctx, "request failed", "method", "StreamPlatforms", "error", failed)
		return status.Error(codes.Unavailable, "the platforms cannot be read now")
	}
	return failed
}

// readPages sends to pages what the store has after an id.
func (a *grpcAPI) readPages(ctx context.Context, after int32, size int, pages chan<- []platform) error {
	for {
		page, err := a.readPage(ctx, after, size)
		if err != nil {
			return err
		}
		if len(page) > 0 {
			select {
			case pages <- page:
			case <-ctx.Done():
				return ctx.Err()
			case <-a.stopping:
				return errStopping
			}
			after = page[len(page)-1].ID
		}
		if len(page) < size {
			return nil
		}
	}
}

func (a *grpcAPI) readPage(ctx context.Context, after int32, size int) ([]platform, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return a.store.platformsAfter(ctx, after, size)
}

func toPlatformModel(p platform) *proto.GrpcPlatformModel {
	return &proto.GrpcPlatformModel{PlatformId: p.ID, Name: p.Name, Publisher: p.Publisher}
}
