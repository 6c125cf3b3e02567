package platformservice

import (
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"microcomm/final/internal/tlsconfig"
	"microcomm/final/internal/web"
	"microcomm/final/proto"
)

// grpcServer is a running gRPC server.
type grpcServer struct {
	server *grpc.Server
	serve  sync.WaitGroup
	failed chan error // receives an error when serving ends before stop is called
}

// startGRPC serves api on listener, which is limited to maxConnections, and closes
// it when serving ends. Without credentials among the options it is HTTP/2 in plain
// text, for use inside the cluster.
func startGRPC(listener net.Listener, api *grpcAPI, options ...grpc.ServerOption) *grpcServer {
	s := &grpcServer{
		server: grpc.NewServer(append(options,
			// A connection that says nothing delays the stop for this long.
			grpc.ConnectionTimeout(web.RequestTimeout),
			// A client that disappears silently holds its streams for this long. One
			// that has no calls makes room for others; it connects again for the next.
			grpc.KeepaliveParams(keepalive.ServerParameters{
				Time: 30 * time.Second, Timeout: web.RequestTimeout, MaxConnectionIdle: time.Minute}),
			// A client that pings more often than this loses its connection.
			grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
			// What one connection may send: gRPC's own limits are 16 MiB of headers, 4 MiB
			// of request, any number of streams and windows that grow to 16 MiB.
			grpc.MaxHeaderListSize(16<<10),
			grpc.MaxRecvMsgSize(4<<10),
			grpc.MaxConcurrentStreams(16),
			grpc.StaticStreamWindowSize(64<<10),
			grpc.StaticConnWindowSize(64<<10))...),
		failed: make(chan error, 1),
	}
	proto.RegisterGrpcPlatformServer(s.server, api)
	s.serve.Go(func() {
		if err := s.server.Serve(countedListener{listener}); err != nil {
			s.failed <- fmt.Errorf("serve gRPC: %w", err)
		}
	})
	return s
}

// stop accepts no new calls, and returns when those in flight have their
// responses or StopTimeout has passed.
func (s *grpcServer) stop() {
	cutOff := time.AfterFunc(web.StopTimeout, s.server.Stop)
	defer cutOff.Stop()
	s.server.GracefulStop()
	s.serve.Wait()
}

// grpcSecurity returns the options for TLS, or none without a certificate. Only
// clients whose certificate has one of these names may call; without names, all whose
// certificate is accepted.
func grpcSecurity(files tlsconfig.Files, clients []string, log *slog.Logger) ([]grpc.ServerOption, error) {
	config, err := files.Server()
	if err != nil || config == nil {
		return nil, err
	}
	if len(clients) > 0 {
		tlsconfig.AllowClients(config, clients, log)
	}
	return []grpc.ServerOption{grpc.Creds(credentials.NewTLS(config))}, nil
}
