package platformservice

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/outbox"
	"microcomm/final/internal/testkit"
)

// testOutbox is the contract of every Store. open returns a new, empty one.
func testOutbox(t *testing.T, open func(t testing.TB) platformStore) {
	t.Run("the event of each platform is pending, in order, as the contract says", func(t *testing.T) {
		store := open(t)
		createPlatform(t, store, "x")
		_, _, err := store.createPlatformOnce(t.Context(), "key", platform{Name: "y", Publisher: "p", Cost: "1"})
		require.NoError(t, err)
		events := pending(t, store)
		require.Len(t, events, 2)
		assert.Equal(t, `{"Id":1,"Name":"x","Event":"Platform_Published"}`, string(events[0].Message.Body))
		assert.Equal(t, `{"Id":2,"Name":"y","Event":"Platform_Published"}`, string(events[1].Message.Body))
		assert.Less(t, events[0].ID, events[1].ID)
		assert.NotEqual(t, events[0].Message.ID, events[1].Message.ID)
		for _, e := range events {
			assert.Equal(t, "Platform_Published", e.Message.Type)
			assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, e.Message.ID)
			assert.WithinDuration(t, time.Now(), e.Message.Time, time.Hour)
			assert.Empty(t, e.Message.Headers)
		}
	})

	t.Run("the platforms of an empty store have events too", func(t *testing.T) {
		store := open(t)
		require.NoError(t, seed(t.Context(), store))
		require.NoError(t, seed(t.Context(), store))
		assert.Len(t, pending(t, store), 3)
	})

	t.Run("the event carries the trace of its request", func(t *testing.T) {
		store := open(t)
		state := trace.TraceState{}
		state, err := state.Insert("vendor", "value")
		require.NoError(t, err)
		ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: state}))
		_, err = store.createPlatform(ctx, platform{Name: "x", Publisher: "p", Cost: "1"})
		require.NoError(t, err)
		assert.Equal(t, map[string]string{
			"traceparent": "00-01000000000000000000000000000000-0200000000000000-01",
			"tracestate":  "vendor=value",
		}, pending(t, store)[0].Message.Headers)
	})

	t.Run("every text is in the event", func(t *testing.T) {
		store := open(t)
		for kind, text := range testkit.OddTexts() {
			created := createPlatform(t, store, text)
			want, err := newEvent(t.Context(), created)
			require.NoError(t, err)
			events := pending(t, store)
			assert.Equal(t, string(want.Body), string(events[len(events)-1].Message.Body), kind)
		}
	})

	t.Run("what is marked is not pending", func(t *testing.T) {
		store := open(t)
		require.NoError(t, store.MarkPublished(t.Context(), nil))
		for n := range 5 {
			createPlatform(t, store, fmt.Sprint(n))
		}
		all := pending(t, store)
		require.NoError(t, store.MarkPublished(t.Context(), []int64{all[0].ID, all[1].ID, all[3].ID}))
		assert.Equal(t, []outbox.Event{all[2], all[4]}, pending(t, store))

		some, err := store.PendingEvents(t.Context(), 0, 1)
		require.NoError(t, err)
		assert.Equal(t, []outbox.Event{all[2]}, some, "up to the limit")
		some, err = store.PendingEvents(t.Context(), all[2].ID, 10)
		require.NoError(t, err)
		assert.Equal(t, []outbox.Event{all[4]}, some, "after an id")
	})

	t.Run("stats tell how many are pending and how old the first is", func(t *testing.T) {
		store := open(t)
		count, age, err := store.Stats(t.Context())
		require.NoError(t, err)
		assert.Zero(t, count)
		assert.Zero(t, age)

		createPlatform(t, store, "marked")
		require.NoError(t, store.MarkPublished(t.Context(), []int64{pending(t, store)[0].ID}))
		createPlatform(t, store, "old")
		execSQL(t, store, `UPDATE outbox SET created_at = created_at - 7200000`,
			`UPDATE dbo.Outbox SET CreatedAt = DATEADD(hour, -2, CreatedAt)`)
		createPlatform(t, store, "new")
		count, age, err = store.Stats(t.Context())
		require.NoError(t, err)
		assert.Equal(t, 2, count)
		assert.InDelta(t, 2*time.Hour, age, float64(time.Hour))
	})

	t.Run("prune deletes only what was published long ago", func(t *testing.T) {
		store := open(t)
		createPlatform(t, store, "published long ago")
		require.NoError(t, store.MarkPublished(t.Context(), []int64{pending(t, store)[0].ID}))
		createPlatform(t, store, "old, and pending")
		execSQL(t, store, `UPDATE outbox SET created_at = created_at - 7200000, published_at = published_at - 7200000`,
			`UPDATE dbo.Outbox SET CreatedAt = DATEADD(hour, -2, CreatedAt), PublishedAt = DATEADD(hour, -2, PublishedAt)`)
		createPlatform(t, store, "published now")
		require.NoError(t, store.MarkPublished(t.Context(), []int64{pending(t, store)[1].ID}))

		more, err := store.Prune(t.Context())
		require.NoError(t, err)
		assert.False(t, more)
		assert.Len(t, pending(t, store), 1)
		assert.Equal(t, 2, countRows(t, store, "outbox"))
		assert.Equal(t, 3, countRows(t, store, "platforms"))
	})

	t.Run("prune deletes some at a time", func(t *testing.T) {
		store := open(t)
		many := make([]platform, outbox.PruneLimit+1)
		for i := range many {
			many[i] = platform{Name: "x", Publisher: "p", Cost: "1"}
		}
		require.NoError(t, store.createIfEmpty(t.Context(), many))
		execSQL(t, store, `UPDATE outbox SET published_at = created_at - 7200000`,
			`UPDATE dbo.Outbox SET PublishedAt = DATEADD(hour, -2, CreatedAt)`)
		more, err := store.Prune(t.Context())
		require.NoError(t, err)
		assert.True(t, more)
		assert.Equal(t, 1, countRows(t, store, "outbox"))
		more, err = store.Prune(t.Context())
		require.NoError(t, err)
		assert.False(t, more)
		assert.Zero(t, countRows(t, store, "outbox"))
	})
}

// testLease is the contract of every Store's lease.
func testLease(t *testing.T, open func(t testing.TB) platformStore) {
	acquire := func(t *testing.T, store outbox.Store, owner string, ttl time.Duration) bool {
		t.Helper()
		held, err := store.AcquireLease(t.Context(), owner, ttl)
		require.NoError(t, err)
		return held
	}

	t.Run("one has it at a time, and renews it", func(t *testing.T) {
		store := open(t)
		assert.True(t, acquire(t, store, "a", time.Hour))
		assert.False(t, acquire(t, store, "b", time.Hour))
		assert.True(t, acquire(t, store, "a", time.Hour))
		require.NoError(t, store.ReleaseLease(t.Context(), "b"))
		assert.False(t, acquire(t, store, "b", time.Hour), "it was not b's to release")
		require.NoError(t, store.ReleaseLease(t.Context(), "a"))
		assert.True(t, acquire(t, store, "b", time.Hour))
		assert.False(t, acquire(t, store, "a", time.Hour))
	})

	t.Run("another has it once it has expired", func(t *testing.T) {
		store := open(t)
		require.True(t, acquire(t, store, "a", time.Millisecond))
		testkit.Eventually(t, "the end of the lease", func() bool { return acquire(t, store, "b", time.Hour) })
		assert.False(t, acquire(t, store, "a", time.Hour))
	})

	t.Run("of many that ask at once, one gets it", func(t *testing.T) {
		store := open(t)
		held := make([]bool, 8)
		testkit.InParallel(t, len(held), func(i int) (err error) {
			held[i], err = store.AcquireLease(t.Context(), fmt.Sprint(i), time.Hour)
			return err
		})
		count := 0
		for _, h := range held {
			if h {
				count++
			}
		}
		assert.Equal(t, 1, count)
	})

	t.Run("a clock that was set back does not keep it forever", func(t *testing.T) {
		store := open(t)
		require.True(t, acquire(t, store, "a", time.Hour)) // an hour later than a lease of a millisecond could end
		assert.True(t, acquire(t, store, "b", time.Millisecond))
	})

	t.Run("a cancelled context is an error", func(t *testing.T) {
		store := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := store.AcquireLease(ctx, "a", time.Hour)
		assert.ErrorIs(t, err, context.Canceled)
		assert.True(t, acquire(t, store, "b", time.Hour))
	})
}

// pending returns all events that are pending.
func pending(t testing.TB, store outbox.Store) []outbox.Event {
	t.Helper()
	events, err := store.PendingEvents(t.Context(), 0, 1_000_000)
	require.NoError(t, err)
	return events
}

// execSQL runs the statement that is of the store's dialect.
func execSQL(t testing.TB, store platformStore, sqlite, sqlServer string) {
	t.Helper()
	var err error
	if s, ok := store.(*sqlServerStore); ok {
		_, err = s.db.Exec(sqlServer)
	} else {
		_, err = store.(*sqliteStore).writes.Exec(sqlite)
	}
	require.NoError(t, err)
}

// countRows returns how many rows a table has.
func countRows(t testing.TB, store platformStore, table string) int {
	t.Helper()
	var count int
	var err error
	if s, ok := store.(*sqlServerStore); ok {
		err = s.db.QueryRow(`SELECT COUNT(*) FROM dbo.` + table).Scan(&count)
	} else {
		err = store.(*sqliteStore).db.QueryRow(`SELECT COUNT(*) FROM ` + table).Scan(&count)
	}
	require.NoError(t, err)
	return count
}
