package platformservice

import (
	"context"
	"log/slog"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/07-grpc/proto"
)

// grpcAPI handles the gRPC calls of other services.
type grpcAPI struct {
	proto.UnimplementedGrpcPlatformServer
	store platformStore
	log   *slog.Logger
}

// GetAllPlatforms implements the call of platforms.proto: every platform in one
// message. A client accepts at most 4 MiB unless configured otherwise. The
// status is Unavailable when the store fails.
func (a *grpcAPI) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	platforms, err := a.store.platforms(ctx)
	if err != nil {
		a.log.Error("request failed", "method", "GetAllPlatforms", "error", err)
		return nil, status.Error(codes.Unavailable, "the platforms cannot be read now")
	}
	response := &proto.PlatformResponse{}
	for _, p := range platforms {
		response.Platform = append(response.Platform, toPlatformModel(p))
	}
	return response, nil
}

func toPlatformModel(p platform) *proto.GrpcPlatformModel {
	return &proto.GrpcPlatformModel{PlatformId: p.ID, Name: p.Name, Publisher: p.Publisher}
}
