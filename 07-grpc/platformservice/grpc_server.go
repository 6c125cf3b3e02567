package platformservice

import (
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"

	"microcomm/07-grpc/proto"
)

// grpcServer is a running gRPC server.
type grpcServer struct {
	server *grpc.Server
	serve  sync.WaitGroup
	failed chan error // receives an error when serving ends before stop is called
}

// startGRPC serves api on listener, and closes it when serving ends. There is no TLS:
// HTTP/2 in plain text, for use inside the cluster.
func startGRPC(listener net.Listener, api *grpcAPI) *grpcServer {
	s := &grpcServer{
		// A connection that says nothing delays the stop for this long.
		server: grpc.NewServer(grpc.ConnectionTimeout(requestTimeout)),
		failed: make(chan error, 1),
	}
	proto.RegisterGrpcPlatformServer(s.server, api)
	s.serve.Go(func() {
		if err := s.server.Serve(listener); err != nil {
			s.failed <- fmt.Errorf("serve gRPC: %w", err)
		}
	})
	return s
}

// stop accepts no new calls, and returns when those in flight have their
// responses or stopTimeout has passed.
func (s *grpcServer) stop() {
	cutOff := time.AfterFunc(stopTimeout, s.server.Stop)
	defer cutOff.Stop()
	s.server.GracefulStop()
	s.serve.Wait()
}
