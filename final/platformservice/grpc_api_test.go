package platformservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"microcomm/final/internal/testkit"
	"microcomm/final/proto"
)

// serveGRPC serves store on a free port until the test ends.
func serveGRPC(t testing.TB, store platformStore) (server *grpcServer, addr string, logged *testkit.LogCapture) {
	t.Helper()
	log, logged := testkit.CaptureLog()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server = startGRPC(listener, newGRPCAPI(store, nil, log))
	t.Cleanup(server.stop)
	return server, listener.Addr().String(), logged
}

// dialGRPC returns a connection that is closed when the test ends. Its windows of
// flow control are as small as gRPC lets them be: those that grow could hold a
// whole response that the test does not receive.
func dialGRPC(t testing.TB, addr string) *grpc.ClientConn {
	t.Helper()
	const window = 64 << 10
	connection, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window))
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close() })
	return connection
}

// getAllPlatforms calls the method with the generated client.
func getAllPlatforms(t testing.TB, addr string) ([]*proto.GrpcPlatformModel, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
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
		assert.Len(t, logged.Lines("database is closed"), 1)
	})
}

// streamPlatforms calls the method with the generated client and returns what arrived
// before its end.
func streamPlatforms(t testing.TB, addr string, after, pageSize int32) ([]*proto.GrpcPlatformModel, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	stream, err := proto.NewGrpcPlatformClient(dialGRPC(t, addr)).StreamPlatforms(ctx,
		&proto.StreamPlatformsRequest{AfterId: after, PageSize: pageSize})
	require.NoError(t, err)
	var models []*proto.GrpcPlatformModel
	for {
		model, err := stream.Recv()
		if err == io.EOF {
			return models, nil
		}
		if err != nil {
			return models, err
		}
		models = append(models, model)
	}
}

// pagesStore is a store that notes the sizes of the pages that are read. Before
// it reads one it calls before.
type pagesStore struct {
	platformStore
	before func(page int) error

	mu    sync.Mutex
	sizes []int
}

func (s *pagesStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	s.mu.Lock()
	page := len(s.sizes)
	s.sizes = append(s.sizes, limit)
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(page); err != nil {
			return nil, false, err
		}
	}
	return s.platformStore.platformsAfter(ctx, id, limit)
}

// pages returns the limit of each page that was read.
func (s *pagesStore) pages() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sizes)
}

// storeOf returns a store of so many platforms, with the ids from 1 on.
func storeOf(t testing.TB, count int) *pagesStore {
	t.Helper()
	store := memoryStore(t)
	platforms := make([]platform, count)
	for i := range platforms {
		platforms[i] = platform{Name: fmt.Sprint("platform ", i+1), Publisher: "p", Cost: "1"}
	}
	require.NoError(t, store.createIfEmpty(t.Context(), platforms))
	return &pagesStore{platformStore: store}
}

func TestStreamPlatforms(t *testing.T) {
	for _, row := range []struct {
		what                   string
		after, size            int32
		count, first, pageSize int
	}{
		{"every platform", 0, 0, 2500, 1, maxPageSize},
		{"every platform, in the smallest pages", 0, 1, 2500, 1, 1},
		{"every platform, in pages that just fit", 0, 500, 2500, 1, 500},
		{"every platform, in pages of no more than the service allows", 0, math.MaxInt32, 2500, 1, maxPageSize},
		{"those after an id", 2000, 300, 500, 2001, 300},
		{"those after an unknown id", -7, -1, 2500, 1, maxPageSize},
		{"none after the last", 2500, 10, 0, 0, 10},
		{"none after any", math.MaxInt32, 10, 0, 0, 10},
	} {
		t.Run("returns "+row.what, func(t *testing.T) {
			store := storeOf(t, 2500)
			_, addr, _ := serveGRPC(t, store)
			got, err := streamPlatforms(t, addr, row.after, row.size)
			require.NoError(t, err)
			require.Len(t, got, row.count)
			for i, model := range got {
				require.EqualValues(t, row.first+i, model.GetPlatformId())
				require.Equal(t, fmt.Sprint("platform ", row.first+i), model.GetName())
				require.Equal(t, "p", model.GetPublisher())
			}
			for _, size := range store.pages() {
				require.Equal(t, row.pageSize, size)
			}
		})
	}

	t.Run("leaves out unknown ids", func(t *testing.T) {
		store := storeOf(t, 10)
		_, err := store.platformStore.(*sqliteStore).db.Exec(`DELETE FROM platforms WHERE id IN (1, 4, 5, 10)`)
		require.NoError(t, err)
		_, addr, _ := serveGRPC(t, store)
		got, err := streamPlatforms(t, addr, 0, 2)
		require.NoError(t, err)
		var ids []int32
		for _, model := range got {
			ids = append(ids, model.GetPlatformId())
		}
		assert.Equal(t, []int32{2, 3, 6, 7, 8, 9}, ids)
	})

	t.Run("is Unavailable after what was sent when the store fails, and only the log says why", func(t *testing.T) {
		store := storeOf(t, 100)
		store.before = func(page int) error {
			if page == 2 {
				return errors.New("no disk")
			}
			return nil
		}
		_, addr, logged := serveGRPC(t, store)
		got, err := streamPlatforms(t, addr, 0, 10)
		require.Equal(t, codes.Unavailable, status.Code(err))
		assert.Equal(t, "the platforms cannot be read now", status.Convert(err).Message())
		assert.Len(t, got, 20)
		assert.Len(t, logged.Lines("no disk"), 1)
	})

	t.Run("waits for a client that does not receive, and reads no further", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		store := storeOf(t, 20_000) // more than fits into the windows of flow control
		store.before = func(int) error { return nil }
		server, addr, _ := serveGRPC(t, store)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		connection := dialGRPC(t, addr)
		stream, err := proto.NewGrpcPlatformClient(connection).StreamPlatforms(ctx, &proto.StreamPlatformsRequest{PageSize: 100})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		previous := -1
		testkit.Eventually(t, "a server that waits", func() bool { // no page between two looks
			read := len(store.pages())
			waits := read == previous
			previous = read
			return waits
		})
		assert.Less(t, previous, 100)

		cancel() // and the server is free again
		require.NoError(t, connection.Close())
		server.stop()
	})

	t.Run("ends when the service stops, and can be resumed", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		stopping := make(chan struct{})
		store := storeOf(t, 100)
		store.before = func(page int) error {
			if page == 3 {
				close(stopping)
			}
			return nil
		}
		log, _ := testkit.CaptureLog()
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := startGRPC(listener, newGRPCAPI(store, stopping, log))
		t.Cleanup(server.stop)
		first, err := streamPlatforms(t, listener.Addr().String(), 0, 10)
		require.Equal(t, codes.Unavailable, status.Code(err))
		require.NotEmpty(t, first)
		require.Less(t, len(first), 100)

		_, addr, _ := serveGRPC(t, store.platformStore)
		rest, err := streamPlatforms(t, addr, first[len(first)-1].GetPlatformId(), 10)
		require.NoError(t, err)
		assert.Len(t, append(first, rest...), 100)
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
	ctx, cancel := context.WithTimeout(t.Context(), testkit.Patience)
	defer cancel()
	var request, response []byte // a GetAllRequest has no fields
	require.NoError(t, dialGRPC(t, addr).Invoke(ctx, "/GrpcPlatform/GetAllPlatforms", &request, &response, grpc.ForceCodec(rawCodec{})))
	// PlatformResponse: field 1, length, GrpcPlatformModel of int32 field 1,
	// string field 2 and string field 3.
	assert.Equal(t, "\x0a\x16"+"\x08\x01"+"\x12\x07Dot Net"+"\x1a\x09Microsoft"+
		"\x0a\x0d"+"\x08\x02"+"\x12\x06é😀"+"\x1a\x01\x00", string(response))

	// StreamPlatforms: a message for each. Field 1, varint: afterId; field 2: pageSize.
	for call, want := range map[string][]string{
		"":                 {"\x08\x01" + "\x12\x07Dot Net" + "\x1a\x09Microsoft", "\x08\x02" + "\x12\x06é😀" + "\x1a\x01\x00"},
		"\x08\x01\x10\x05": {"\x08\x02" + "\x12\x06é😀" + "\x1a\x01\x00"},
		"\x08\x02":         nil,
	} {
		stream, err := dialGRPC(t, addr).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, "/GrpcPlatform/StreamPlatforms", grpc.ForceCodec(rawCodec{}))
		require.NoError(t, err)
		request := []byte(call)
		require.NoError(t, stream.SendMsg(&request))
		require.NoError(t, stream.CloseSend())
		var got []string
		for err == nil {
			var message []byte
			if err = stream.RecvMsg(&message); err == nil {
				got = append(got, string(message))
			}
		}
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, want, got)
	}
}

func TestProtoFile(t *testing.T) {
	file, err := os.ReadFile("../proto/platforms.proto")
	require.NoError(t, err)
	url, _, _ := serveAPI(t)
	for _, path := range []string{"/protos/platforms.proto", "/protos/platforms.proto/"} {
		a := testkit.Send(t, "GET", url+path, "")
		assert.Equal(t, http.StatusOK, a.Status)
		assert.Equal(t, "text/plain; charset=utf-8", a.Header.Get("Content-Type"))
		assert.Equal(t, string(file), a.Body)
	}
	a := testkit.Send(t, "POST", url+"/protos/platforms.proto", "")
	testkit.RequireProblem(t, a, http.StatusMethodNotAllowed)
	assert.Equal(t, "GET, HEAD", a.Header.Get("Allow"))
	testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/protos/other.proto", ""), http.StatusNotFound)
}
