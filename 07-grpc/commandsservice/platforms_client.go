package commandsservice

import (
	"context"
	"fmt"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"microcomm/07-grpc/proto"
)

// platformsClient calls PlatformService by gRPC.
type platformsClient struct {
	target string // host:port
}

// platforms returns every platform that PlatformService has. Each call opens its
// own connection: after a failure, a shared one would make the next attempt wait
// for gRPC's own growing pauses. A response larger than 4 MiB, grpc-go's default
// limit, is the error ResourceExhausted.
func (c *platformsClient) platforms(ctx context.Context) ([]platform, error) {
	connection, err := grpc.NewClient(c.target,
		grpc.WithTransportCredentials(insecure.NewCredentials()), // plain text, as the server speaks it
		grpc.WithNoProxy(),              // no proxy between two services
		grpc.WithDisableServiceConfig()) // no DNS lookup of one, which can take seconds to fail
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
