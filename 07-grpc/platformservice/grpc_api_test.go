package platformservice

import (
	"context"
	"net"
	"net/http"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"microcomm/07-grpc/proto"
)

// serveGRPC serves store on a free port until the test ends.
func serveGRPC(t testing.TB, store platformStore) (server *grpcServer, addr string, logged *logCapture) {
	t.Helper()
	log, logged := captureLog()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server = startGRPC(listener, &grpcAPI{store: store, log: log})
	t.Cleanup(server.stop)
	return server, listener.Addr().String(), logged
}

// dialGRPC returns a connection that is closed when the test ends.
func dialGRPC(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	connection, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	return connection
}

// getAllPlatforms calls the method with the generated client.
func getAllPlatforms(t testing.TB, addr string) ([]*proto.GrpcPlatformModel, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	response, err := proto.NewGrpcPlatformClient(dialGRPC(t, addr)).GetAllPlatforms(ctx, &proto.GetAllRequest{})
	return response.GetPlatform(), err
}

func TestGetAllPlatforms(t *testing.T) {
	t.Run("returns every platform in id order", func(t *testing.T) {
		store := memoryStore(t)
		createPlatform(t, store, "b")
		createPlatform(t, store, "a")
		_, addr, _ := serveGRPC(t, store)
		got, err := getAllPlatforms(t, addr)
		require.NoError(t, err)
		require.Len(t, got, 2)
		assert.EqualValues(t, 1, got[0].GetPlatformId())
		assert.Equal(t, "b", got[0].GetName())
		assert.Equal(t, "Microsoft", got[0].GetPublisher())
		assert.Equal(t, "a", got[1].GetName())
	})

	t.Run("returns an empty list when there are no platforms", func(t *testing.T) {
		_, addr, _ := serveGRPC(t, memoryStore(t))
		got, err := getAllPlatforms(t, addr)
		require.NoError(t, err)
		assert.Empty(t, got)
	})

	t.Run("is Unavailable while the store is, and only the log says why", func(t *testing.T) {
		store := memoryStore(t)
		_, addr, logged := serveGRPC(t, store)
		require.NoError(t, store.close())
		_, err := getAllPlatforms(t, addr)
		require.Equal(t, codes.Unavailable, status.Code(err))
		assert.Equal(t, "the platforms cannot be read now", status.Convert(err).Message())
		assert.Len(t, logged.lines("database is closed"), 1)
	})
}

// rawCodec sends and receives the bytes of a message unchanged.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}

// TestGRPCOnTheWire: the bytes are those that the .NET client expects. This test
// calls the method by its name and uses no generated code.
func TestGRPCOnTheWire(t *testing.T) {
	store := memoryStore(t)
	require.NoError(t, store.createIfEmpty(t.Context(), []platform{
		{Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"},
		{Name: "é😀", Publisher: "\x00", Cost: "Free"},
	}))
	_, addr, _ := serveGRPC(t, store)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var request, response []byte // a GetAllRequest has no fields
	require.NoError(t, dialGRPC(t, addr).Invoke(ctx, "/GrpcPlatform/GetAllPlatforms", &request, &response, grpc.ForceCodec(rawCodec{})))
	// PlatformResponse: field 1, length, GrpcPlatformModel of int32 field 1,
	// string field 2 and string field 3.
	assert.Equal(t, "\x0a\x16"+"\x08\x01"+"\x12\x07Dot Net"+"\x1a\x09Microsoft"+
		"\x0a\x0d"+"\x08\x02"+"\x12\x06é😀"+"\x1a\x01\x00", string(response))
}

func TestProtoFile(t *testing.T) {
	file, err := os.ReadFile("../proto/platforms.proto")
	require.NoError(t, err)
	url, _, _ := serveAPI(t)
	for _, path := range []string{"/protos/platforms.proto", "/protos/platforms.proto/"} {
		resp := send(t, "GET", url+path, "")
		assert.Equal(t, http.StatusOK, resp.status)
		assert.Equal(t, "text/plain; charset=utf-8", resp.header.Get("Content-Type"))
		assert.Equal(t, string(file), resp.body)
	}
	resp := send(t, "POST", url+"/protos/platforms.proto", "")
	requireProblem(t, resp, http.StatusMethodNotAllowed)
	assert.Equal(t, "GET, HEAD", resp.header.Get("Allow"))
	requireProblem(t, send(t, "GET", url+"/protos/other.proto", ""), http.StatusNotFound)
}
