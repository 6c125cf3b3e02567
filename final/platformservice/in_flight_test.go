package platformservice

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
)

func TestSlots(t *testing.T) {
	const limit = 2
	nothing := func(context.Context) error { return nil }

	t.Run("as many as the limit work at once, and more are refused", func(t *testing.T) {
		s := newSlots(limit)
		entered, release := make(chan struct{}), make(chan struct{})
		var working sync.WaitGroup
		for range limit {
			working.Go(func() {
				assert.NoError(t, s.do(t.Context(), func(context.Context) error {
					entered <- struct{}{}
					<-release
					return nil
				}))
			})
			receive(t, "work in a slot", entered)
		}
		for range 3 {
			assert.ErrorIs(t, s.do(t.Context(), nothing), errOverloaded)
		}
		close(release)
		working.Wait()
		assert.NoError(t, s.do(t.Context(), nothing))
	})

	t.Run("a slot is free again after an error, and after a panic", func(t *testing.T) {
		s := newSlots(1)
		failed := errors.New("failed")
		assert.ErrorIs(t, s.do(t.Context(), func(context.Context) error { return failed }), failed)
		assert.Panics(t, func() { _ = s.do(t.Context(), func(context.Context) error { panic("a bug") }) })
		assert.NoError(t, s.do(t.Context(), nothing))
	})

	t.Run("work does not end with the client, and has a time limit", func(t *testing.T) {
		ctx, disconnect := context.WithCancel(t.Context())
		disconnect()
		require.NoError(t, newSlots(1).do(ctx, func(ctx context.Context) error {
			_, limited := ctx.Deadline()
			assert.True(t, limited)
			return ctx.Err()
		}))
	})

	t.Run("a list that has begun waits for a slot, and others are refused", func(t *testing.T) {
		s := newSlots(1)
		read := inSlots(s, numbers(math.MaxInt32))
		_, _, err := read(t.Context(), 0, 1)
		require.NoError(t, err)
		next := make(chan error, 1)
		require.NoError(t, s.do(t.Context(), func(ctx context.Context) error {
			go func() {
				_, _, err := read(ctx, 1, 1)
				next <- err
			}()
			_, _, err := inSlots(s, numbers(1))(ctx, 0, 1)
			assert.ErrorIs(t, err, errOverloaded)
			return nil
		}))
		assert.NoError(t, receive(t, "the rest of the list", next))
	})
}

// TestSlotsAreForTheStore: a client that is slow, with its body or with reading,
// has none.
func TestSlotsAreForTheStore(t *testing.T) {
	t.Run("a list that is not read holds none", func(t *testing.T) {
		log, _ := captureLog()
		s := newSlots(1)
		routes := newRouter((&restAPI{log: log}).fail)
		routes.handle("/list", methods{http.MethodGet: func(w http.ResponseWriter, r *http.Request) error {
			return writeList(w, r, new(atomic.Int32), inSlots(s, numbers(math.MaxInt32)))
		}})
		url := serve(t, routes) + "/list"
		for range 3 {
			transport := &http.Transport{DisableKeepAlives: true}
			eventually(t, "the beginning of a list", func() bool { // another may have the slot just now
				response, err := (&http.Client{Transport: transport}).Do(newRequest(t, "GET", url, nil))
				require.NoError(t, err)
				t.Cleanup(func() { response.Body.Close() })
				return response.StatusCode == http.StatusOK
			})
		}
		eventually(t, "lists that wait for their clients", func() bool { return len(s) == 0 })
	})
}
