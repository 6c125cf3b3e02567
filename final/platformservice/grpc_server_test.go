package platformservice

import (
	"context"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
)

func TestRunServesGRPC(t *testing.T) {
	t.Run("and stops without leaving anything behind", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		cfg := testConfig(t)
		cfg.Seed = true
		service := startService(t, cfg)
		addr := service.LoggedAddr(t, "listening for gRPC")
		got, err := getAllPlatforms(t, addr)
		require.NoError(t, err)
		assert.Len(t, got, 3, "the seeded platforms")
		service.Stop()
		require.NoError(t, testkit.Receive(t, "the end of Run", service.Stopped))
		_, err = net.Dial("tcp", addr)
		assert.Error(t, err)
	})

	t.Run("a taken port is an error that names the variable", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		cfg := testConfig(t)
		cfg.GRPCAddr = taken.Addr().String()
		log, _ := testkit.CaptureLog()
		err = Run(t.Context(), cfg, Parts{}, log)
		require.ErrorContains(t, err, "PLATFORMS_GRPC_ADDR")
		assert.ErrorContains(t, err, cfg.GRPCAddr)
	})
}

// slowStore is a store whose list does not return before finish is closed.
type slowStore struct {
	platformStore
	listing, finish chan struct{}
}

func (s slowStore) platformsAfter(ctx context.Context, id int32, limit int) ([]platform, bool, error) {
	close(s.listing)
	<-s.finish
	return s.platformStore.platformsAfter(ctx, id, limit)
}

func TestGRPCStop(t *testing.T) {
	t.Run("completes the call in flight", func(t *testing.T) {
		testkit.NoGoroutineLeft(t)
		store := slowStore{memoryStore(t), make(chan struct{}), make(chan struct{})}
		createPlatform(t, store, "x")
		server, addr, _ := serveGRPC(t, store)
		called, stopped := make(chan error, 1), make(chan struct{})
		go func() {
			_, err := getAllPlatforms(t, addr)
			called <- err
		}()
		testkit.Receive(t, "the call", store.listing)
		go func() {
			defer close(stopped)
			server.stop()
		}()
		testkit.WaitRefused(t, addr)
		close(store.finish)
		require.NoError(t, testkit.Receive(t, "the response", called))
		testkit.Receive(t, "the end of stop", stopped)
		assert.Empty(t, server.failed)
	})
}
