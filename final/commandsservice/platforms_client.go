package commandsservice

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"microcomm/final/proto"
)

// platformsClient asks PlatformService for its platforms by gRPC.
type platformsClient struct {
	target string
}

// newPlatformsClient returns a client for the gRPC server at target, host:port.
func newPlatformsClient(target string) *platformsClient {
	return &platformsClient{target: target}
}

// Platforms returns every platform that PlatformService has. The connection is
// made for this one call, so that a try does not inherit the pauses that an
// earlier failure put on a shared one. The answer may be up to 4 MiB large,
// grpc-go's default; a larger one is the error ResourceExhausted.
func (c *platformsClient) platforms(ctx context.Context) ([]platform, error) {
	connection, err := grpc.NewClient(c.target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // plain text, as the server speaks it
		grpc.WithNoProxy(),              // none between two services
		grpc.WithDisableServiceConfig()) // DNS is not asked for settings: where that goes unanswered it takes seconds
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.target, err)
	}
	defer connection.Close()
	response, err := proto.NewGrpcPlatformClient(connection).GetAllPlatforms(ctx, &proto.GetAllRequest{})
	if err != nil {
		return nil, fmt.Errorf("call GetAllPlatforms at %s: %w", c.target, err)
	}
	platforms := make([]platform, 0, len(response.GetPlatform()))
	for _, p := range response.GetPlatform() {
		platforms = append(platforms, platform{ExternalID: p.GetPlatformId(), Name: p.GetName()})
	}
	return platforms, nil
}
