//go:build exercise

package platformservice

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/07-grpc/commandsservice"
	"microcomm/07-grpc/proto"
)

// platformServer is a PlatformService whose responses the test decides.
type platformServer struct {
	proto.UnimplementedGrpcPlatformServer
	respond func(context.Context) (*proto.PlatformResponse, error)
}

func (s *platformServer) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	return s.respond(ctx)
}

// startCommandsService runs CommandsService until the test ends. It calls a
// PlatformService that responds like this.
func startCommandsService(t *testing.T, timeout string, respond func(context.Context) (*proto.PlatformResponse, error)) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	proto.RegisterGrpcPlatformServer(server, &platformServer{respond: respond})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, receive(t, "the end of the server", served))
	})
	env := map[string]string{
		"COMMANDS_HTTP_ADDR":     "127.0.0.1:0",
		"RABBITMQ_URL":           "amqp://127.0.0.1:1/", // no broker there
		"PLATFORMS_GRPC_TARGET":  listener.Addr().String(),
		"PLATFORMS_GRPC_TIMEOUT": timeout,
	}
	cfg, err := commandsservice.ConfigFromEnv(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	require.NoError(t, err)
	log, _ := captureLog()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- commandsservice.Run(ctx, cfg, log) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, receive(t, "the end of CommandsService", ended))
	})
}

func TestServerIsToldTheDeadline(t *testing.T) {
	for _, value := range []string{"", "0s", "-1s", "5", "soon"} {
		_, err := commandsservice.ConfigFromEnv(func(name string) (string, bool) { return value, name == "PLATFORMS_GRPC_TIMEOUT" })
		require.ErrorContains(t, err, "PLATFORMS_GRPC_TIMEOUT", "the value %q", value)
	}
	left := make(chan time.Duration, 100)
	startCommandsService(t, "4s", func(ctx context.Context) (*proto.PlatformResponse, error) {
		if deadline, ok := ctx.Deadline(); ok {
			left <- time.Until(deadline)
		} else {
			left <- time.Hour
		}
		return &proto.PlatformResponse{}, nil
	})
	require.LessOrEqual(t, receive(t, "a call", left), 4*time.Second,
		"the call must end after PLATFORMS_GRPC_TIMEOUT, and the server must know")
}

func TestHungServerIsGivenUp(t *testing.T) {
	hung := make(chan struct{})
	defer close(hung) // before the server stops
	var calls atomic.Int32
	second := make(chan struct{}, 100)
	startCommandsService(t, "200ms", func(context.Context) (*proto.PlatformResponse, error) {
		if calls.Add(1) == 1 {
			<-hung // whatever its deadline says
		} else {
			second <- struct{}{}
		}
		return &proto.PlatformResponse{}, nil
	})
	receive(t, "a second call, after the one that got no response within PLATFORMS_GRPC_TIMEOUT", second)
}

// stuckStore is a store whose list takes until its context ends.
type stuckStore struct {
	platformStore
	listing, ended chan struct{}
}

func (s stuckStore) platforms(ctx context.Context) ([]platform, error) {
	s.listing <- struct{}{}
	<-ctx.Done()
	s.ended <- struct{}{}
	return nil, ctx.Err()
}

func TestServerStopsWorkForACallerThatIsGone(t *testing.T) {
	store := stuckStore{memoryStore(t), make(chan struct{}, 1), make(chan struct{}, 1)}
	_, addr, logged := serveGRPC(t, store)
	client := proto.NewGrpcPlatformClient(dialGRPC(t, addr))
	ctx, hangUp := context.WithCancel(t.Context())
	called := make(chan error, 1)
	go func() {
		_, err := client.GetAllPlatforms(ctx, &proto.GetAllRequest{})
		called <- err
	}()
	receive(t, "the call", store.listing)
	began := time.Now()
	hangUp()
	require.Error(t, receive(t, "the end of the call", called))
	receive(t, "the end of the work for it", store.ended)
	require.Less(t, time.Since(began), requestTimeout/2, "the work went on until the server's own time limit")

	eventually(t, "a line of the log, of the level debug, that names GetAllPlatforms", func() bool {
		return len(logged.lines("GetAllPlatforms")) > 0
	})
	require.Contains(t, strings.Join(logged.lines("GetAllPlatforms"), "\n"), "level=DEBUG",
		"a caller that hangs up is no fault of the server")
	require.Empty(t, logged.lines("level=ERROR"), "a caller that hangs up is no fault of the server")

	// A caller that waits, and a store that does not return within the server's own
	// limit: that is the store's fault, and an error.
	go func() {
		_, err := client.GetAllPlatforms(t.Context(), &proto.GetAllRequest{})
		called <- err
	}()
	receive(t, "another call", store.listing)
	require.Equal(t, codes.Unavailable, status.Code(receive(t, "its end, after the server's own limit", called)), "the caller's deadline has not passed")
	require.Len(t, logged.lines("level=ERROR"), 1, "lines of the log about a store that takes too long")
}
