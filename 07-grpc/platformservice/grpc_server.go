package platformservice

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/07-grpc/proto"
)

// grpcServer answers the calls of other services.
type grpcServer struct {
	proto.UnimplementedGrpcPlatformServer
	store platformStore
	log   *slog.Logger
}

// GetAllPlatforms implements the call of platforms.proto: every platform in one
// message. A client takes no message over 4 MiB unless told otherwise, which is
// some 100,000 platforms. The status is Unavailable when the store does not
// answer.
func (s *grpcServer) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	platforms, err := s.store.platforms(ctx)
	if err != nil {
		s.log.Error("GetAllPlatforms failed", "error", err)
		return nil, status.Error(codes.Unavailable, "the platforms cannot be read now")
	}
	response := &proto.PlatformResponse{}
	for _, p := range platforms {
		response.Platform = append(response.Platform, &proto.GrpcPlatformModel{
			PlatformId: p.ID,
			Name:       p.Name,
			Publisher:  p.Publisher,
		})
	}
	s.log.Info("platforms sent by gRPC", "count", len(platforms))
	return response, nil
}

// grpcListener is a gRPC server that has been started.
type grpcListener struct {
	server *grpc.Server
	serve  sync.WaitGroup
	failed chan error // has an error when serving ended before stop was called
}

// startGRPC listens on addr and serves.
func startGRPC(addr string, server *grpcServer) (*grpcListener, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for gRPC (PLATFORMS_GRPC_ADDR): %w", err)
	}
	// No TLS: HTTP/2 in plain text, for use inside the cluster. The time to open a
	// connection is bounded because not even Stop ends one that says nothing.
	s := &grpcListener{server: grpc.NewServer(grpc.ConnectionTimeout(requestTimeout)), failed: make(chan error, 1)}
	proto.RegisterGrpcPlatformServer(s.server, server)
	s.serve.Go(func() {
		if err := s.server.Serve(listener); err != nil {
			s.failed <- fmt.Errorf("serve gRPC: %w", err)
		}
	})
	server.log.Info("listening for gRPC", "addr", listener.Addr().String())
	return s, nil
}

// stop takes no new calls and gives the ones under way until stopTimeout.
func (s *grpcListener) stop() {
	hurry := time.AfterFunc(stopTimeout, s.server.Stop)
	defer hurry.Stop()
	s.server.GracefulStop()
	s.serve.Wait()
}
