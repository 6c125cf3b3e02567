//go:build exercise

package platformservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	protobuf "google.golang.org/protobuf/proto"

	"microcomm/07-grpc/commandsservice"
	"microcomm/07-grpc/proto"
)

const streamMethod = "/GrpcPlatform/StreamPlatforms"

// openStream calls StreamPlatforms. The request is the bytes of a
// StreamPlatformsRequest: the chapter has no generated code for one yet. Until it
// is read, the server can send 64 KiB; by default the window grows as the network allows.
func openStream(t *testing.T, ctx context.Context, addr, request string) grpc.ClientStream {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	stream, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, streamMethod, grpc.ForceCodec(rawCodec{}))
	require.NoError(t, err)
	body := []byte(request)
	require.NoError(t, stream.SendMsg(&body))
	require.NoError(t, stream.CloseSend())
	return stream
}

// next returns the next platform of a stream, or io.EOF.
func next(stream grpc.ClientStream) (*proto.GrpcPlatformModel, error) {
	var body []byte
	if err := stream.RecvMsg(&body); err != nil {
		return nil, err
	}
	model := &proto.GrpcPlatformModel{}
	return model, protobuf.Unmarshal(body, model)
}

// fill stores so many platforms, whose ids are 1, 2, …
func fill(t *testing.T, store platformStore, count int, name string) {
	t.Helper()
	platforms := make([]platform, count)
	for i := range platforms {
		platforms[i] = platform{Name: name, Publisher: "p", Cost: "Free"}
	}
	require.NoError(t, store.createIfEmpty(t.Context(), platforms))
}

// noListing is a store that refuses to read all platforms at once.
type noListing struct{ platformStore }

func (noListing) platforms(context.Context) ([]platform, error) {
	return nil, errors.New("all platforms at once do not fit into the memory")
}

func TestStreamIsPaged(t *testing.T) {
	store := memoryStore(t)
	fill(t, store, 25, "x")
	_, addr, _ := serveGRPC(t, noListing{store})
	for request, first := range map[string]int32{ // field 1, afterId; field 2, pageSize
		"":                 1,
		"\x10\x0a":         1, // pages of 10
		"\x10\x05":         1, // of 5: the last is full
		"\x08\x14\x10\x02": 21,
		"\x08\x19":         26,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		stream := openStream(t, ctx, addr, request)
		for want := first; want <= 25; want++ {
			model, err := next(stream)
			require.NoError(t, err, "platform %d", want)
			require.Equal(t, want, model.GetPlatformId(), "in id order, each once")
			require.Equal(t, "x", model.GetName())
			require.Equal(t, "p", model.GetPublisher())
		}
		_, err := next(stream)
		require.ErrorIs(t, err, io.EOF, "the stream ends after the last platform")
	}
}

func TestSlowClientHoldsNothingOfTheDatabase(t *testing.T) {
	store := memoryStore(t) // has one connection
	fill(t, store, 10_000, strings.Repeat("x", 500))
	_, addr, _ := serveGRPC(t, store)
	ctx, hangUp := context.WithCancel(t.Context())
	defer hangUp()
	stream := openStream(t, ctx, addr, "")
	_, err := next(stream) // and then the client reads no more
	require.NoError(t, err)
	used := make(chan error, 1)
	go func() {
		_, err := store.platform(ctx, 1)
		used <- err
	}()
	require.NoError(t, receive(t, "another caller's query, while a client reads slowly", used))
}

// A page begins behind the last id of the one before. With OFFSET a row that is
// deleted meanwhile makes another one disappear.
func TestRowsThatGoHideNoOthers(t *testing.T) {
	const count = 10_000
	store := memoryStore(t)
	fill(t, store, count, strings.Repeat("x", 500))
	_, addr, _ := serveGRPC(t, store)
	stream := openStream(t, t.Context(), addr, "\x10\x32") // pages of 50
	_, err := next(stream)                                 // the client does not read on yet, so the server cannot send on
	require.NoError(t, err)
	_, err = store.(*sqliteStore).db.ExecContext(t.Context(), `DELETE FROM platforms WHERE id <= 10`)
	require.NoError(t, err)
	for want := int32(2); want <= count; want++ {
		model, err := next(stream)
		require.NoError(t, err, "platform %d", want)
		require.Equal(t, want, model.GetPlatformId(), "in id order, each once")
	}
}

// startCommandsService runs CommandsService until the test ends. It calls the
// gRPC server at target.
func startCommandsService(t *testing.T, target string) *testService {
	t.Helper()
	env := map[string]string{"COMMANDS_HTTP_ADDR": "127.0.0.1:0", "RABBITMQ_URL": "amqp://127.0.0.1:1/", "PLATFORMS_GRPC_TARGET": target}
	cfg, err := commandsservice.ConfigFromEnv(func(name string) (string, bool) { value, ok := env[name]; return value, ok })
	require.NoError(t, err)
	log, logged := captureLog()
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- commandsservice.Run(ctx, cfg, log) }()
	t.Cleanup(func() {
		stop()
		assert.NoError(t, receive(t, "the end of CommandsService", ended))
	})
	s := &testService{log: logged}
	s.url = "http://" + s.loggedAddr(t, "listening for HTTP")
	return s
}

func TestClientStoresBatchByBatch(t *testing.T) {
	const count = 5003 // the last batch is a small one
	goOn := make(chan struct{})
	server := grpc.NewServer(grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); method != streamMethod {
			return status.Error(codes.Unimplemented, "the test has StreamPlatforms alone")
		}
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		for id := range int32(count) {
			body, err := protobuf.Marshal(&proto.GrpcPlatformModel{PlatformId: id + 1, Name: "x"})
			if err != nil {
				return err
			}
			if err := stream.SendMsg(&body); err != nil {
				return err
			}
		}
		select { // the stream does not end yet
		case <-goOn:
		case <-stream.Context().Done():
		}
		return nil
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() { server.Stop(); assert.NoError(t, receive(t, "the end of the server", served)) }()

	commands := startCommandsService(t, listener.Addr().String())
	eventually(t, "the first 1,000 platforms are stored while the stream goes on", func() bool {
		return send(t, "GET", commands.url+"/api/c/platforms/1000/commands", "").status == http.StatusOK
	})
	close(goOn)
	eventually(t, "the last platform", func() bool {
		return send(t, "GET", fmt.Sprint(commands.url, "/api/c/platforms/", count, "/commands"), "").status == http.StatusOK
	})
}

// TestMorePlatformsThanOneMessageHolds: 5 MB of names are too many for GetAllPlatforms.
func TestMorePlatformsThanOneMessageHolds(t *testing.T) {
	const count = 10_007
	store := memoryStore(t)
	fill(t, store, count, strings.Repeat("x", 500))
	_, addr, _ := serveGRPC(t, store)
	commands := startCommandsService(t, addr)
	eventually(t, "the last platform", func() bool {
		return send(t, "GET", fmt.Sprint(commands.url, "/api/c/platforms/", count, "/commands"), "").status == http.StatusOK
	})
	var all []any
	require.NoError(t, json.Unmarshal([]byte(send(t, "GET", commands.url+"/api/c/platforms", "").body), &all))
	require.Len(t, all, count)
}
