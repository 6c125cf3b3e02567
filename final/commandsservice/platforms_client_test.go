package commandsservice

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/tlsconfig"
	"microcomm/final/proto"
)

// platformServer is a PlatformService whose responses the test decides.
type platformServer struct {
	proto.UnimplementedGrpcPlatformServer
	respond func(ctx context.Context) ([]platform, error)
}

// StreamPlatforms sends what respond returns, and then its error.
func (s *platformServer) StreamPlatforms(request *proto.StreamPlatformsRequest, stream grpc.ServerStreamingServer[proto.GrpcPlatformModel]) error {
	platforms, err := s.respond(stream.Context())
	for _, p := range platforms {
		if request.GetAfterId() != 0 && p.ExternalID <= request.GetAfterId() {
			continue
		}
		if err := stream.Send(&proto.GrpcPlatformModel{PlatformId: p.ExternalID, Name: p.Name}); err != nil {
			return err
		}
	}
	return err
}

// startPlatformServer runs a platformServer until the test ends, and returns its
// address.
func startPlatformServer(t testing.TB, respond func(ctx context.Context) ([]platform, error)) string {
	t.Helper()
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	proto.RegisterGrpcPlatformServer(server, &platformServer{respond: respond})
	return serveGRPC(t, server)
}

// oldPlatformServer is a PlatformService of chapter 07: it cannot stream.
type oldPlatformServer struct {
	proto.UnimplementedGrpcPlatformServer
	respond func(ctx context.Context) ([]platform, error)
}

func (s *oldPlatformServer) GetAllPlatforms(ctx context.Context, _ *proto.GetAllRequest) (*proto.PlatformResponse, error) {
	platforms, err := s.respond(ctx)
	response := &proto.PlatformResponse{}
	for _, p := range platforms {
		response.Platform = append(response.Platform, &proto.GrpcPlatformModel{PlatformId: p.ExternalID, Name: p.Name})
	}
	return response, err
}

func startOldPlatformServer(t testing.TB, respond func(ctx context.Context) ([]platform, error)) string {
	t.Helper()
	server := grpc.NewServer(grpc.WaitForHandlers(true))
	proto.RegisterGrpcPlatformServer(server, &oldPlatformServer{respond: respond})
	return serveGRPC(t, server)
}

// serveGRPC serves on a free port until the test ends, and returns the address.
func serveGRPC(t testing.TB, server *grpc.Server) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		assert.NoError(t, testkit.Receive(t, "the end of Serve", served))
	})
	return listener.Addr().String()
}

// having returns a handler that responds with these platforms.
func having(platforms ...platform) func(context.Context) ([]platform, error) {
	return func(context.Context) ([]platform, error) { return platforms, nil }
}

// fetch returns what the client passes to its handler.
func fetch(ctx context.Context, client *platformsClient, after int32) ([]platform, error) {
	var all []platform
	err := client.platforms(ctx, after, func(batch []platform) error {
		all = append(all, batch...)
		return nil
	})
	return all, err
}

func TestPlatformsClient(t *testing.T) {
	for what, start := range map[string]func(testing.TB, func(context.Context) ([]platform, error)) string{
		"from a stream":                    startPlatformServer,
		"from a server that cannot stream": startOldPlatformServer,
	} {
		t.Run(what, func(t *testing.T) {
			t.Run("returns what PlatformService has", func(t *testing.T) {
				testkit.NoGoroutineLeft(t)
				known := append(numbered(1, 2*batchSize+1), platform{ExternalID: 3000, Name: "é😀\x00"})
				platforms, err := fetch(t.Context(), testPlatformsClient(start(t, having(known...))), 0)
				require.NoError(t, err)
				assert.Equal(t, known, platforms)
			})

			t.Run("an empty list is no error", func(t *testing.T) {
				platforms, err := fetch(t.Context(), testPlatformsClient(start(t, having())), 0)
				require.NoError(t, err)
				assert.Empty(t, platforms)
			})

			t.Run("returns the server's error, and says that it is the server's", func(t *testing.T) {
				target := start(t, func(context.Context) ([]platform, error) {
					return nil, status.Error(codes.Unavailable, "no database")
				})
				_, err := fetch(t.Context(), testPlatformsClient(target), 0)
				assert.Equal(t, codes.Unavailable, status.Code(err))
				assert.ErrorContains(t, err, "no database")
				assert.ErrorContains(t, err, target)
			})

			t.Run("ends with the error of the handler", func(t *testing.T) {
				testkit.NoGoroutineLeft(t)
				full := errors.New("disk full")
				calls := 0
				client := testPlatformsClient(start(t, having(numbered(1, 5*batchSize)...)))
				err := client.platforms(t.Context(), 0, func([]platform) error { calls++; return full })
				assert.ErrorIs(t, err, full)
				assert.Equal(t, 1, calls)
			})

			t.Run("a server that stops responding is an error", func(t *testing.T) {
				testkit.NoGoroutineLeft(t)
				client := testPlatformsClient(start(t, func(ctx context.Context) ([]platform, error) {
					<-ctx.Done()
					return nil, ctx.Err()
				}))
				client.timeout = 50 * time.Millisecond
				_, err := fetch(t.Context(), client, 0)
				assert.Error(t, err)
			})
		})
	}

	t.Run("begins after an id", func(t *testing.T) {
		platforms, err := fetch(t.Context(), testPlatformsClient(startPlatformServer(t, having(numbered(1, 10)...))), 7)
		require.NoError(t, err)
		assert.Equal(t, numbered(8, 3), platforms)
	})

	t.Run("passes on what arrived before the stream broke", func(t *testing.T) {
		known := numbered(1, batchSize+5)
		target := startPlatformServer(t, func(context.Context) ([]platform, error) {
			return known, status.Error(codes.Unavailable, "stopping")
		})
		platforms, err := fetch(t.Context(), testPlatformsClient(target), 0)
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.Equal(t, known, platforms)
	})

	t.Run("has time to store: only the server's silence counts", func(t *testing.T) {
		client := testPlatformsClient(startPlatformServer(t, having(numbered(1, 10*batchSize)...)))
		client.timeout = 5 * time.Second // what a server on a busy machine needs to begin
		received := 0
		err := client.platforms(t.Context(), 0, func(batch []platform) error {
			if received == 0 {
				<-time.After(client.timeout + 100*time.Millisecond) // a slow database
				client.timeout = testkit.Patience                   // for the other batches
			}
			received += len(batch)
			return nil
		})
		require.NoError(t, err)
		assert.Equal(t, 10*batchSize, received)
	})

	t.Run("reads 4 MiB in one message and not a byte more", func(t *testing.T) {
		const largest = 4 << 20
		for size, code := range map[int]codes.Code{largest: codes.OK, largest + 1: codes.ResourceExhausted} {
			const framing = 12 // the bytes around a name of this size
			target := startOldPlatformServer(t, having(platform{ExternalID: 4, Name: strings.Repeat("x", size-framing)}))
			_, err := fetch(t.Context(), testPlatformsClient(target), 0)
			assert.Equal(t, code, status.Code(err))
		}
	})

	t.Run("a server that is down is an error at once", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		_, err := fetch(t.Context(), testPlatformsClient("127.0.0.1:1"), 0)
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.ErrorContains(t, err, "127.0.0.1:1")
	})

	t.Run("a server that says nothing is given up", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts connections, nothing reads from them
		require.NoError(t, err)
		defer silent.Close()
		client := testPlatformsClient(silent.Addr().String())
		client.timeout = 100 * time.Millisecond
		_, err = fetch(t.Context(), client, 0)
		assert.ErrorIs(t, err, errSilent)

		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = fetch(ctx, testPlatformsClient(silent.Addr().String()), 0)
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

// TestPlatformsClientOnTheWire: the client understands the bytes that servers
// send. Those of this test use no generated code.
func TestPlatformsClientOnTheWire(t *testing.T) {
	// serve runs a server that has these methods, each with its messages.
	serve := func(t *testing.T, methods map[string][]string) (client *platformsClient, requests *sync.Map) {
		requests = &sync.Map{}
		return testPlatformsClient(serveGRPC(t, grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.WaitForHandlers(true),
			grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
				method, _ := grpc.MethodFromServerStream(stream)
				messages, known := methods[method]
				if !known {
					return status.Error(codes.Unimplemented, "unknown method")
				}
				var request []byte
				if err := stream.RecvMsg(&request); err != nil {
					return err
				}
				requests.Store(method, string(request))
				for _, message := range messages {
					if err := stream.SendMsg([]byte(message)); err != nil {
						return err
					}
				}
				return nil
			})))), requests
	}

	t.Run("of the .NET server, which has GetAllPlatforms alone", func(t *testing.T) {
		client, requests := serve(t, map[string][]string{"/GrpcPlatform/GetAllPlatforms": {recordedResponse}})
		platforms, err := fetch(t.Context(), client, 9)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 1, Name: "Dot Net"}, {ExternalID: 300, Name: "Kubernetes"}}, platforms)
		request, _ := requests.Load("/GrpcPlatform/GetAllPlatforms")
		assert.Empty(t, request, "GetAllRequest has no fields")

		for _, response := range []string{"\x0a\xff", "\x0a\x03\x12\x01\xff"} { // cut off; a name that is not UTF-8
			client, _ := serve(t, map[string][]string{"/GrpcPlatform/GetAllPlatforms": {response}})
			_, err := fetch(t.Context(), client, 0)
			assert.Equal(t, codes.Internal, status.Code(err), "these bytes are not a PlatformResponse")
		}
	})

	t.Run("of a server that streams", func(t *testing.T) {
		client, requests := serve(t, map[string][]string{"/GrpcPlatform/StreamPlatforms": {
			"\x08\x01" + "\x12\x07Dot Net" + "\x1a\x09Microsoft", "\x4a\x02??" + "\x08\xac\x02" + "\x12\x0aKubernetes"}})
		platforms, err := fetch(t.Context(), client, 300)
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 1, Name: "Dot Net"}, {ExternalID: 300, Name: "Kubernetes"}}, platforms)
		request, _ := requests.Load("/GrpcPlatform/StreamPlatforms")
		assert.Equal(t, "\x08\xac\x02"+"\x10\xe8\x07", request, "afterId 300, pageSize 1000")

		client, _ = serve(t, map[string][]string{"/GrpcPlatform/StreamPlatforms": {"\x08\x01", "\x12\xff"}})
		platforms, err = fetch(t.Context(), client, 0)
		assert.Equal(t, codes.Internal, status.Code(err), "bytes that are no GrpcPlatformModel")
		assert.Len(t, platforms, 1)
	})
}

// testPlatformsClient returns a client without TLS and traces.
func testPlatformsClient(target string) *platformsClient {
	return newPlatformsClient(target, tlsconfig.Files{}, noop.NewTracerProvider().Tracer(""))
}
