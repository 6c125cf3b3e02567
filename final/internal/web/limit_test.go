package web_test

import (
	"context"
	"errors"
	"math"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

func TestSlots(t *testing.T) {
	const limit = 2
	nothing := func(context.Context) error { return nil }

	t.Run("as many as the limit work at once, and more are refused", func(t *testing.T) {
		s := web.NewSlots(limit)
		entered, release := make(chan struct{}), make(chan struct{})
		var working sync.WaitGroup
		for range limit {
			working.Go(func() {
				assert.NoError(t, s.Do(t.Context(), func(context.Context) error {
					entered <- struct{}{}
					<-release
					return nil
				}))
			})
			testkit.Receive(t, "work in a slot", entered)
		}
		for range 3 {
			assert.ErrorIs(t, s.Do(t.Context(), nothing), web.ErrOverloaded)
		}
		close(release)
		working.Wait()
		assert.NoError(t, s.Do(t.Context(), nothing))
	})

	t.Run("a slot is free again after an error, and after a panic", func(t *testing.T) {
		s := web.NewSlots(1)
		failed := errors.New("failed")
		assert.ErrorIs(t, s.Do(t.Context(), func(context.Context) error { return failed }), failed)
		assert.Panics(t, func() { _ = s.Do(t.Context(), func(context.Context) error { panic("a bug") }) })
		assert.NoError(t, s.Do(t.Context(), nothing))
	})

	t.Run("work does not end with the client, and has a time limit", func(t *testing.T) {
		ctx, disconnect := context.WithCancel(t.Context())
		disconnect()
		require.NoError(t, web.NewSlots(1).Do(ctx, func(ctx context.Context) error {
			_, limited := ctx.Deadline()
			assert.True(t, limited)
			return ctx.Err()
		}))
	})

	t.Run("a list that has begun waits for a slot, and others are refused", func(t *testing.T) {
		s := web.NewSlots(1)
		read := web.InSlots(s, numbers(math.MaxInt32))
		_, _, err := read(t.Context(), 0, 1)
		require.NoError(t, err)
		next := make(chan error, 1)
		require.NoError(t, s.Do(t.Context(), func(ctx context.Context) error {
			go func() {
				_, _, err := read(ctx, 1, 1)
				next <- err
			}()
			_, _, err := web.InSlots(s, numbers(1))(ctx, 0, 1)
			assert.ErrorIs(t, err, web.ErrOverloaded)
			return nil
		}))
		assert.NoError(t, testkit.Receive(t, "the rest of the list", next))
	})
}

// TestSlotsAreForTheStore: a client that is slow, with its body or with reading,
// has none.
func TestSlotsAreForTheStore(t *testing.T) {
	t.Run("a list that is not read holds none", func(t *testing.T) {
		log, _ := testkit.CaptureLog()
		s := web.NewSlots(1)
		routes := web.NewRouter(nil, fail(log))
		routes.Handle("/list", web.ByMethod{http.MethodGet: web.Public(func(w http.ResponseWriter, r *http.Request) error {
			return web.WriteList(w, r, new(atomic.Int32), web.InSlots(s, numbers(math.MaxInt32)))
		})})
		url := testkit.Serve(t, routes) + "/list"
		for range 3 {
			transport := &http.Transport{DisableKeepAlives: true}
			testkit.Eventually(t, "the beginning of a list", func() bool { // another may have the slot just now
				response, err := (&http.Client{Transport: transport}).Do(testkit.NewRequest(t, "GET", url, nil))
				require.NoError(t, err)
				t.Cleanup(func() { response.Body.Close() })
				return response.StatusCode == http.StatusOK
			})
		}
		testkit.Eventually(t, "lists that wait for their clients", func() bool { return len(s) == 0 })
	})
}
