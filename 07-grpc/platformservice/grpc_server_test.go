package platformservice

import (
	"context"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// rawCodec sends and receives the bytes of a message as they are, so that the
// tests see what any other client would, generated code or not.
type rawCodec struct{}

func (rawCodec) Name() string                  { return "proto" }
func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }
func (rawCodec) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = append([]byte{}, data...)
	return nil
}

// serveGRPC serves store on a free port until the test ends.
func serveGRPC(t *testing.T, store platformStore) (server *grpcListener, addr string, logged *logCapture) {
	t.Helper()
	log, logged := captureLog()
	server, err := startGRPC("127.0.0.1:0", &grpcServer{store: store, log: log})
	require.NoError(t, err)
	t.Cleanup(server.stop)
	_, addr, _ = strings.Cut(logged.lines("listening for gRPC")[0], "addr=")
	return server, addr, logged
}

// getAllPlatforms calls the method by its name on the wire with the bytes of an
// empty GetAllRequest, and returns the bytes of the answer.
func getAllPlatforms(t testing.TB, addr string) (string, error) {
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var request, response []byte
	err = conn.Invoke(ctx, "/GrpcPlatform/GetAllPlatforms", &request, &response, grpc.ForceCodec(rawCodec{}))
	return string(response), err
}

func TestGetAllPlatforms(t *testing.T) {
	t.Run("answers the bytes that the contract says", func(t *testing.T) {
		store := memoryStore(t)
		require.NoError(t, store.createIfEmpty(t.Context(), []platform{
			{Name: "Dot Net", Publisher: "Microsoft", Cost: "Free"},
			{Name: "é😀", Publisher: "\x00", Cost: "Free"},
		}))
		_, addr, logged := serveGRPC(t, store)
		got, err := getAllPlatforms(t, addr)
		require.NoError(t, err)
		// PlatformResponse: field 1, length, GrpcPlatformModel of int32 field 1,
		// string field 2 and string field 3.
		assert.Equal(t, "\x0a\x16"+"\x08\x01"+"\x12\x07Dot Net"+"\x1a\x09Microsoft"+
			"\x0a\x0d"+"\x08\x02"+"\x12\x06é😀"+"\x1a\x01\x00", got)
		assert.Len(t, logged.lines("count=2"), 1)
	})

	t.Run("answers no bytes when there is no platform", func(t *testing.T) {
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

// slowStore is a store whose list takes until finish is closed.
type slowStore struct {
	platformStore
	listing, finish chan struct{}
}

func (s slowStore) platforms(ctx context.Context) ([]platform, error) {
	close(s.listing)
	<-s.finish
	return s.platformStore.platforms(ctx)
}

func TestGRPCStop(t *testing.T) {
	t.Run("lets the call that is under way finish", func(t *testing.T) {
		noGoroutineLeft(t)
		store := slowStore{memoryStore(t), make(chan struct{}), make(chan struct{})}
		createPlatform(t, store, "x")
		server, addr, _ := serveGRPC(t, store)
		type result struct {
			got string
			err error
		}
		called, stopped := make(chan result, 1), make(chan struct{})
		go func() {
			got, err := getAllPlatforms(t, addr)
			called <- result{got, err}
		}()
		receive(t, "the call", store.listing)
		go func() {
			defer close(stopped)
			server.stop()
		}()
		waitRefused(t, addr)
		close(store.finish)
		answered := receive(t, "the answer", called)
		require.NoError(t, answered.err)
		assert.Contains(t, answered.got, "\x12\x01x")
		receive(t, "the end of stop", stopped)
		assert.Empty(t, server.failed)
	})
}

func TestProtoFile(t *testing.T) {
	file, err := os.ReadFile("../proto/platforms.proto")
	require.NoError(t, err)
	url, _ := serveAPI(t)
	for _, path := range []string{"/protos/platforms.proto", "/protos/platforms.proto/"} {
		a := send(t, "GET", url+path, "")
		assert.Equal(t, http.StatusOK, a.status)
		assert.Equal(t, "text/plain; charset=utf-8", a.header.Get("Content-Type"))
		assert.Equal(t, string(file), a.body)
	}
	a := send(t, "POST", url+"/protos/platforms.proto", "")
	requireProblem(t, a, http.StatusMethodNotAllowed)
	assert.Equal(t, "GET, HEAD", a.header.Get("Allow"))
	requireProblem(t, send(t, "GET", url+"/protos/other.proto", ""), http.StatusNotFound)
}

func TestRunServesGRPC(t *testing.T) {
	t.Run("and stops without leaving anything behind", func(t *testing.T) {
		noGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.Seed = true
		service := startService(t, cfg)
		addr := service.loggedAddr(t, "listening for gRPC")
		got, err := getAllPlatforms(t, addr)
		require.NoError(t, err)
		assert.Contains(t, got, "Cloud Native Computing Foundation")
		service.stop()
		require.NoError(t, receive(t, "the end of Run", service.stopped))
		_, err = net.Dial("tcp", addr)
		assert.Error(t, err)
	})

	t.Run("a taken port is an error that names the variable", func(t *testing.T) {
		noGoroutineLeft(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		cfg := testConfig(t)
		cfg.GRPCAddr = taken.Addr().String()
		log, _ := captureLog()
		err = Run(t.Context(), cfg, log)
		require.ErrorContains(t, err, "PLATFORMS_GRPC_ADDR")
		assert.ErrorContains(t, err, cfg.GRPCAddr)
	})
}
