package platformservice

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/testkit"
	"microcomm/final/proto"
)

// storeOfText returns a store of platforms with 4,000 bytes of text each, as far
// as gRPC sends them.
func storeOfText(t testing.TB, count int) platformStore {
	t.Helper()
	store := memoryStore(t)
	text := strings.Repeat("😀", maxText)
	platforms := make([]platform, count)
	for i := range platforms {
		platforms[i] = platform{Name: text, Publisher: text, Cost: "1"}
	}
	require.NoError(t, store.createIfEmpty(t.Context(), platforms))
	return store
}

// serveImpatiently is serveGRPC with this little time for clients that do not receive.
func serveImpatiently(t testing.TB, store platformStore, sendTimeout time.Duration) (addr string) {
	t.Helper()
	log, _ := testkit.CaptureLog()
	api := newGRPCAPI(store, nil, log)
	api.answers.sendTimeout, api.streams.sendTimeout = sendTimeout, sendTimeout
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(startGRPC(listener, api).stop)
	return listener.Addr().String()
}

// call begins a call whose messages are received when the test likes.
func call(t testing.TB, connection *grpc.ClientConn, method string) grpc.ClientStream {
	t.Helper()
	stream, err := connection.NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodec(rawCodec{}))
	require.NoError(t, err)
	var request []byte
	require.NoError(t, stream.SendMsg(&request))
	require.NoError(t, stream.CloseSend())
	return stream
}

// next receives a message of a call.
func next(stream grpc.ClientStream) error {
	var message []byte
	return stream.RecvMsg(&message)
}

func TestStreamsAtOnce(t *testing.T) {
	store := storeOfText(t, 500) // 2 MB: more than fits into the windows of flow control
	_, addr, _ := serveGRPC(t, store)
	var open []*grpc.ClientConn
	for range maxStreams / 8 {
		connection := dialGRPC(t, addr)
		open = append(open, connection)
		for range 8 {
			require.NoError(t, next(call(t, connection, "/GrpcPlatform/StreamPlatforms")))
		}
	}

	refused := next(call(t, dialGRPC(t, addr), "/GrpcPlatform/StreamPlatforms"))
	require.Equal(t, codes.ResourceExhausted, status.Code(refused))
	assert.Contains(t, refused.Error(), "retry later")

	require.NoError(t, open[0].Close())
	testkit.Eventually(t, "a place for another stream", func() bool {
		platforms, err := streamPlatforms(t, addr, 0, 0)
		return err == nil && len(platforms) == 500
	})
}

func TestClientThatDoesNotReceive(t *testing.T) {
	t.Run("a stream loses its connection, and its place", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		addr := serveImpatiently(t, storeOfText(t, 500), 100*time.Millisecond)
		connection := dialGRPC(t, addr)
		stream := call(t, connection, "/GrpcPlatform/StreamPlatforms")
		ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
		defer cancel()
		// The stream may begin a moment before its connection counts as ready.
		for state := connection.GetState(); state == connectivity.Connecting || state == connectivity.Ready; state = connection.GetState() {
			require.True(t, connection.WaitForStateChange(ctx, state), "the connection is closed")
		}
		err := next(stream)
		for err == nil {
			err = next(stream)
		}
		assert.NotErrorIs(t, err, io.EOF, "what it received is not mistaken for the whole")
	})

	t.Run("a list in one message counts until it is written", func(t *testing.T) {
		addr := serveImpatiently(t, storeOfText(t, 500), time.Second)
		testkit.Eventually(t, "a refusal", func() bool {
			for range maxAnswers { // on a slow machine the ones before may have lost their places
				call(t, dialGRPC(t, addr), "/GrpcPlatform/GetAllPlatforms")
			}
			_, err := getAllPlatforms(t, addr)
			return status.Code(err) == codes.ResourceExhausted && strings.Contains(err.Error(), "StreamPlatforms")
		})
		testkit.Eventually(t, "a place for another call", func() bool {
			platforms, err := getAllPlatforms(t, addr)
			return err == nil && len(platforms) == 500
		})
	})

	t.Run("one that receives is served as often as it calls", func(t *testing.T) {
		_, addr, _ := serveGRPC(t, storeOfText(t, 500))
		for range 3 * maxAnswers {
			platforms, err := getAllPlatforms(t, addr)
			require.NoError(t, err)
			require.Len(t, platforms, 500)
		}
	})
}

func TestListThatDoesNotFitIntoOneMessage(t *testing.T) {
	store := storeOfText(t, maxResponse/4000+1)
	_, addr, _ := serveGRPC(t, store)
	for range 2 * maxAnswers { // a refusal holds no place
		_, err := getAllPlatforms(t, addr)
		require.Equal(t, codes.ResourceExhausted, status.Code(err))
		require.Contains(t, err.Error(), "do not fit into one message of 4194304 bytes: call StreamPlatforms")
	}
	platforms, err := streamPlatforms(t, addr, 0, 0)
	require.NoError(t, err)
	assert.Len(t, platforms, maxResponse/4000+1)
}

func TestLargeGRPCRequest(t *testing.T) {
	_, addr, _ := serveGRPC(t, memoryStore(t))
	client := proto.NewGrpcPlatformClient(dialGRPC(t, addr))
	for size, served := range map[int]bool{8 << 10: true, 17 << 10: false, 1 << 20: false} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "large", strings.Repeat("x", size))
		_, err := client.GetAllPlatforms(ctx, &proto.GetAllRequest{})
		assert.Equal(t, served, err == nil, "%d bytes of metadata: %v", size, err)
	}

	stream, err := dialGRPC(t, addr).NewStream(t.Context(), &grpc.StreamDesc{ServerStreams: true}, "/GrpcPlatform/StreamPlatforms", grpc.ForceCodec(rawCodec{}))
	require.NoError(t, err)
	request := make([]byte, 5<<10)
	_ = stream.SendMsg(&request) // the response has the outcome
	assert.Equal(t, codes.ResourceExhausted, status.Code(next(stream)))

	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	_, err = client.GetAllPlatforms(ctx, &proto.GetAllRequest{})
	assert.NoError(t, err, "others are served")
}
