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
	"google.golang.org/protobuf/encoding/protowire"
)

// recordedResponse is a PlatformResponse of two platforms as it is on the wire.
// Each field begins with a byte that is 8 times its number, plus 2 for what has
// a length, which follows.
const recordedResponse = "\x0a\x16" + "\x08\x01" + "\x12\x07Dot Net" + "\x1a\x09Microsoft" +
	"\x0a\x35" + "\x08\xac\x02" + "\x12\x0aKubernetes" + "\x1a\x24Cloud Native Computing Foundation..."

func TestPlatformsClient(t *testing.T) {
	t.Run("speaks as the contract says", func(t *testing.T) {
		noGoroutineLeft(t)
		target := startPlatformServer(t, func(_ context.Context, method, request string) (string, error) {
			assert.Equal(t, "/GrpcPlatform/GetAllPlatforms", method)
			assert.Empty(t, request, "GetAllRequest has no fields")
			return recordedResponse, nil
		})
		platforms, err := newPlatformsClient(target).platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 1, Name: "Dot Net"}, {ExternalID: 300, Name: "Kubernetes"}}, platforms)
	})

	t.Run("reads past fields that it does not know", func(t *testing.T) {
		target := startPlatformServer(t, func(context.Context, string, string) (string, error) {
			return "\x0a\x09" + "\x4a\x02??" + "\x08\x04" + "\x12\x01x" + "\x4a\x02??", nil
		})
		platforms, err := newPlatformsClient(target).platforms(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []platform{{ExternalID: 4, Name: "x"}}, platforms)
	})

	t.Run("no platforms are no error", func(t *testing.T) {
		target := startPlatformServer(t, func(context.Context, string, string) (string, error) { return "", nil })
		platforms, err := newPlatformsClient(target).platforms(t.Context())
		require.NoError(t, err)
		assert.Empty(t, platforms)
	})

	t.Run("returns the server's error and says whose it is", func(t *testing.T) {
		target := startPlatformServer(t, func(context.Context, string, string) (string, error) {
			return "", status.Error(codes.Unavailable, "no database")
		})
		_, err := newPlatformsClient(target).platforms(t.Context())
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.ErrorContains(t, err, "no database")
		assert.ErrorContains(t, err, target)
	})

	t.Run("bytes that are no PlatformResponse are an error", func(t *testing.T) {
		for _, answer := range []string{"\x0a\xff", "\x0a\x03\x12\x01\xff"} { // cut off; a name that is not UTF-8
			target := startPlatformServer(t, func(context.Context, string, string) (string, error) { return answer, nil })
			_, err := newPlatformsClient(target).platforms(t.Context())
			assert.Equal(t, codes.Internal, status.Code(err))
		}
	})

	t.Run("reads 4 MiB and no byte more", func(t *testing.T) {
		const largest = 4 << 20
		for size, code := range map[int]codes.Code{largest: codes.OK, largest + 1: codes.ResourceExhausted} {
			target := startPlatformServer(t, func(context.Context, string, string) (string, error) {
				response := encodePlatforms(platform{ExternalID: 4, Name: strings.Repeat("x", size-12)})
				assert.Len(t, response, size)
				return response, nil
			})
			_, err := newPlatformsClient(target).platforms(t.Context())
			assert.Equal(t, code, status.Code(err))
		}
	})

	t.Run("nobody there is an error at once", func(t *testing.T) {
		noGoroutineLeft(t)
		_, err := newPlatformsClient("127.0.0.1:1").platforms(t.Context())
		assert.Equal(t, codes.Unavailable, status.Code(err))
		assert.ErrorContains(t, err, "127.0.0.1:1")
	})

	t.Run("a server that says nothing is given up with the context", func(t *testing.T) {
		noGoroutineLeft(t)
		silent, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody reads
		require.NoError(t, err)
		defer silent.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err = newPlatformsClient(silent.Addr().String()).platforms(ctx)
		assert.Equal(t, codes.DeadlineExceeded, status.Code(err))
	})
}

// startPlatformServer runs a gRPC server until the test ends, and returns its
// address. It knows no generated code, only bytes: what it shares with the
// client is what is on the wire.
func startPlatformServer(t *testing.T, answer func(ctx context.Context, method, request string) (string, error)) string {
	t.Helper()
	server := grpc.NewServer(grpc.ForceServerCodec(bytesCodec{}), grpc.WaitForHandlers(true),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			method, _ := grpc.MethodFromServerStream(stream)
			var request []byte
			if err := stream.RecvMsg(&request); err != nil {
				return err
			}
			response, err := answer(stream.Context(), method, string(request))
			if err != nil {
				return err
			}
			return stream.SendMsg([]byte(response))
		}))
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

// bytesCodec hands messages over as the bytes that they are.
type bytesCodec struct{}

func (bytesCodec) Marshal(message any) ([]byte, error) { return message.([]byte), nil }

func (bytesCodec) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = bytes.Clone(data)
	return nil
}

func (bytesCodec) Name() string { return "proto" }

// encodePlatforms returns a PlatformResponse.
func encodePlatforms(platforms ...platform) string {
	var response []byte
	for _, p := range platforms {
		var model []byte
		model = protowire.AppendTag(model, 1, protowire.VarintType)
		model = protowire.AppendVarint(model, uint64(p.ExternalID))
		model = protowire.AppendTag(model, 2, protowire.BytesType)
		model = protowire.AppendString(model, p.Name)
		response = protowire.AppendTag(response, 1, protowire.BytesType)
		response = protowire.AppendBytes(response, model)
	}
	return string(response)
}
