package commandsservice

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/07-grpc/proto"
)

// platformServer is a PlatformService whose responses the test decides.
type platformServer struct {
	proto.UnimplementedGrpcPlatformServer
	respond func(ctx context.Context) ([]platform, error)
}

func (s *platformServer) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	platforms, err := s.respond(ctx)
	response := &proto.PlatformResponse{}
	for _, p := range platforms {
		response.Platform = append(response.Platform, &proto.GrpcPlatformModel{PlatformId: p.ExternalID, Name: p.Name})
	}
	return response, err
}

// startPlatformServer runs a platformServer until the test ends, and returns its
// address.
func startPlatformServer(t *testing.T, respond func(ctx context.Context) ([]platform, error)) string {
	t.Helper()
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	proto.RegisterGrpcPlatformServer(server, &platformServer{respond: respond})
	return serveGRPC(t, server)
}

// serveGRPC serves on a free port until the test ends, and returns the address.
func serveGRPC(t *testing.T, server *grpc.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, receive(t, "the end of Serve", served))
	})
	return listener.Addr().String()
}

// having returns a handler that responds with these platforms.
func having(platforms ...platform) func(context.Context) ([]platform, error) {
	return func(context.Context) ([]platform, error) { return platforms, nil }
}

func TestPlatformsClient(t *testing.T) {
	t.Run("returns what PlatformService has", func(t *testing.T) {
		noGoroutineLeft(t)
		known := []platform{{ExternalID: 1, Name: "Dot Net"}, {ExternalID: 300, Name: "é😀\x00"}}
		target := startPlatformServer(t, having(known...))
		platforms, err := (&platformsClient{target: target}).platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, known, platforms)
	})

	t.Run("an empty list is no error", func(t *testing.T) {
		target := startPlatformServer(t, having())
		platforms, err := (&platformsClient{target: target}).platforms(t.Context())
		require.NoError(t, err)
		assert.Empty(t, platforms)
	})

	t.Run("returns the server's error, and says that it is the server's", func(t *testing.T) {
		target := startPlatformServer(t, func(context.Context) ([]platform, error) {
			return nil, status.Error(codes.Unavailable, "no database")
		})
		_, err := (&platformsClient{target: target}).platforms(t.Context())
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.ErrorContains(t, err, "no database")
		assert.ErrorContains(t, err, target)
	})

	t.Run("reads 4 MiB and not a byte more", func(t *testing.T) {
		const largest = 4 << 20
		for size, code := range map[int]codes.Code{largest: codes.OK, largest + 1: codes.ResourceExhausted} {
			const framing = 12 // the bytes around a name of this size
			target := startPlatformServer(t, having(platform{ExternalID: 4, Name: strings.Repeat("x", size-framing)}))
			_, err := (&platformsClient{target: target}).platforms(t.Context())
			assert.Equal(t, code, status.Code(err))
		}
	})

	t.Run("a server that is down is an error at once", func(t *testing.T) {
		noGoroutineLeft(t)
		_, err := (&platformsClient{target: "127.0.0.1:1"}).platforms(t.Context())
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.ErrorContains(t, err, "127.0.0.1:1")
	})

	t.Run("a silent server is an error when the context ends", func(t *testing.T) {
		noGoroutineLeft(t)
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts connections, nothing reads from them
		require.NoError(t, err)
		defer silent.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = (&platformsClient{target: silent.Addr().String()}).platforms(ctx)
		assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
	})
}

// recordedResponse is the bytes of a PlatformResponse with two platforms.
// Each field begins with a byte that is 8 times its number, plus 2 for what has
// a length, which follows. The second has fields that this service does not know.
const recordedResponse = "\x0a\x16" + "\x08\x01" + "\x12\x07Dot Net" + "\x1a\x09Microsoft" +
	"\x0a\x3d" + "\x4a\x02??" + "\x08\xac\x02" + "\x12\x0aKubernetes" + "\x1a\x24Cloud Native Computing Foundation..." + "\x4a\x02??"

// bytesCodec passes messages through as bytes.
type bytesCodec struct{}

func (bytesCodec) Name() string                        { return "proto" }
func (bytesCodec) Marshal(message any) ([]byte, error) { return message.([]byte), nil }
func (bytesCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = bytes.Clone(data)
	return nil
}

// TestPlatformsClientOnTheWire: the client understands the bytes that the .NET
// server sends. The server of this test uses no generated code.
func TestPlatformsClientOnTheWire(t *testing.T) {
	serve := func(t *testing.T, response string) *platformsClient {
		return &platformsClient{target: serveGRPC(t, grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.WaitForHandlers(true),
			grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
				method, _ := grpc.MethodFromServerStream(stream)
				assert.Equal(t, "/GrpcPlatform/GetAllPlatforms", method)
				var request []byte
				if err := stream.RecvMsg(&request); err != nil {
					return err
				}
				assert.Empty(t, request, "GetAllRequest has no fields")
				return stream.SendMsg([]byte(response))
			})))}
	}

	platforms, err := serve(t, recordedResponse).platforms(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []platform{{ExternalID: 1, Name: "Dot Net"}, {ExternalID: 300, Name: "Kubernetes"}}, platforms)

	for _, response := range []string{"\x0a\xff", "\x0a\x03\x12\x01\xff"} { // cut off; a name that is not UTF-8
		_, err := serve(t, response).platforms(t.Context())
		assert.Equal(t, codes.Internal, status.Code(err), "these bytes are not a PlatformResponse")
	}
}
