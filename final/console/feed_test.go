package console

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"microcomm/final/internal/testkit"
	"microcomm/final/internal/web"
)

// fakeClock is the time of a feed under test.
type fakeClock struct{ at time.Time }

func (c *fakeClock) now() time.Time { return c.at }

// startFeed serves a feed that nothing but the test writes to.
func startFeed(t *testing.T, clock *fakeClock) (f *feed, url string) {
	t.Helper()
	s, url := startService(t, clock)
	return s.feed, url
}

func startService(t *testing.T, clock *fakeClock) (s *service, url string) {
	t.Helper()
	s, err := build(Config{Stage: "final", PlatformsURL: "http://localhost:1", CommandsURL: "http://localhost:1"}, Parts{}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s.feed = newFeed(clock.now)
	s.feed.begin(s.first)
	s.health.Set(web.Ready)
	server := httptest.NewServer(s.handler())
	t.Cleanup(func() {
		close(s.stopping)
		server.Close()
	})
	return s, server.URL
}

func note(i int) (time.Time, string, string, any) {
	return time.Unix(int64(i), 0), "note", "note", map[string]string{"text": fmt.Sprint(i)}
}

func TestReaderContinuesWhereItWas(t *testing.T) {
	f, url := startFeed(t, &fakeClock{})
	f.add(note(1))
	f.add(note(2))
	first := read(t, url, "")
	lines := first.until("the second note", func(l received) bool { return l.Seq == 3 })
	first.close()
	assert.Equal(t, []uint64{1, 2, 3}, []uint64{lines[0].Seq, lines[1].Seq, lines[2].Seq})

	f.add(note(3))
	again := read(t, url, lines[1].ID)
	rest := again.until("the third note", func(l received) bool { return l.Seq == 4 })
	assert.Len(t, rest, 2, "the second and the third: neither the run nor the first again")
	f.add(note(4))
	again.until("what happens now", func(l received) bool { return l.Seq == 5 })
}

func TestReaderOfAnotherRunStartsAnew(t *testing.T) {
	f, url := startFeed(t, &fakeClock{})
	f.add(note(1))
	for _, id := range []string{"ANOTHERRUN-2", "nonsense", f.run + "-99", f.run + "-x"} {
		lines := read(t, url, id).until("the note", func(l received) bool { return l.Kind == "note" })
		require.Len(t, lines, 3, id)
		assert.Equal(t, "resync", lines[0].Kind, id)
		assert.Equal(t, "run", lines[1].Kind, id)
	}
}

// What left the ring and still holds is the state of the parts, the queues, the
// gauges, and the lists.
func TestNewReaderGetsWhatStillHolds(t *testing.T) {
	f, url := startFeed(t, &fakeClock{})
	at := time.Unix(1, 0)
	f.add(at, "part", "part/broker", partContent{State: "down"})
	f.add(at, "part", "part/broker", partContent{State: "up"})
	f.add(at, "queue", "queue/q", queueContent{Depth: 7, Role: "work"})
	f.add(at, "gauge", "outbox", map[string]int{"pending": 3})
	f.add(at, "list", "list/platforms", listContent{Added: []item{{1, "a"}, {2, "b"}}, Total: 2})
	f.add(at, "list", "list/platforms", listContent{Added: []item{{3, "c"}}, Removed: []int32{1}, Total: 2})
	for i := range ringLines {
		f.add(note(i))
	}
	lines := read(t, url, f.run+"-3").until("the last", func(l received) bool { return l.Seq == uint64(ringLines+7) })
	assert.Equal(t, "resync", lines[0].Kind, "what it missed is gone")
	assert.Equal(t, "run", lines[1].Kind)
	for i := 2; i < len(lines); i++ {
		require.Greater(t, lines[i].Seq, lines[i-1].Seq)
	}
	kept := lines[2:6]
	assert.Equal(t, "up", kept[0].Content.State)
	assert.Equal(t, 7, kept[1].Content.Depth)
	assert.Equal(t, "outbox", kept[2].Subject)
	assert.Equal(t, []item{{2, "b"}, {3, "c"}}, kept[3].Content.Added)
	assert.Equal(t, 2, kept[3].Content.Total)
	assert.Equal(t, "note", lines[6].Kind)
}

// A client that does not read costs nothing: the others get every line, and it gets
// the whole once it reads again.
func TestSlowReaderDelaysNoOtherAndStartsAnew(t *testing.T) {
	f, url := startFeed(t, &fakeClock{})
	slow, err := http.Get(url + "/feed")
	require.NoError(t, err)
	defer slow.Body.Close()
	fast := read(t, url, "")
	text := map[string]string{"text": strings.Repeat("x", 1000)}
	const lines = 3 * ringLines // of 1 kB: more than the connection's buffers hold
	for i := range lines {
		f.add(time.Unix(int64(i), 0), "note", "note", text)
		if i%2000 == 0 {
			fast.until("every line", func(l received) bool { return l.Seq >= uint64(i+2) })
		}
	}
	fast.until("the last", func(l received) bool { return l.Seq == uint64(lines+1) })
	assert.LessOrEqual(t, len(f.ring), ringLines)
	assert.LessOrEqual(t, f.bytes, ringBytes)

	// It gets the whole in the same stream or, when it was cut off meanwhile, in the next.
	resync, last := false, received{}
	see := func(l received) {
		resync, last = resync || l.Kind == "resync", l
	}
	parse(t, slow.Body, func(l received) (more bool) {
		see(l)
		return l.Seq < lines+1
	})
	if last.Seq < lines+1 {
		for _, l := range read(t, url, last.ID).until("the last", func(l received) bool { return l.Seq == lines+1 }) {
			see(l)
		}
	}
	assert.True(t, resync)
}

func TestReaderThatStopsReadingIsCutOff(t *testing.T) {
	s, url := startService(t, &fakeClock{})
	stopped, err := http.Get(url + "/feed")
	require.NoError(t, err)
	defer stopped.Body.Close()
	eventually(t, "a write that takes too long", func() bool {
		s.feed.add(time.Now(), "note", "note", map[string]string{"text": strings.Repeat("x", 100_000)})
		return s.streams.Load() == 0
	})
}

// Of 5,000 hops in a second, some are left out, which the feed says; failures are not
// among them.
func TestABurstIsSampledAndSaid(t *testing.T) {
	clock := &fakeClock{at: time.Unix(1000, 0)}
	f, url := startFeed(t, clock)
	feed := read(t, url, "")
	for i := range 5000 {
		f.add(clock.at, "hop", "platform/1", hopContent{Hop: "accepted", ID: int32(i + 1)})
	}
	f.add(clock.at, "hop", "platform/1", hopContent{Hop: "dead_lettered", ID: 1})
	f.add(clock.at, "part", "part/broker", partContent{State: "down"})
	clock.at = clock.at.Add(time.Second)
	f.tick()
	count := map[string]int{}
	lines := feed.until("what was left out", func(l received) bool {
		count[l.Content.Hop+l.Content.State]++
		return l.Kind == "sampled"
	})
	assert.Equal(t, hopsLimit-hopsSpare, count["accepted"])
	assert.Equal(t, 1, count["dead_lettered"])
	assert.Equal(t, 1, count["down"])
	assert.Equal(t, 5000-count["accepted"], lines[len(lines)-1].Content.Left)
}

func TestDownloadIsTheFeedAsAFile(t *testing.T) {
	f, url := startFeed(t, &fakeClock{})
	f.add(note(1))
	got := testkit.Send(t, "GET", url+"/feed?format=ndjson", "")
	require.Equal(t, http200, got.Status)
	assert.Equal(t, "application/x-ndjson", got.Header.Get("Content-Type"))
	lines := strings.Split(strings.TrimSpace(got.Body), "\n")
	require.Len(t, lines, 2)
	for i, kind := range []string{"run", "note"} {
		var l received
		require.NoError(t, json.Unmarshal([]byte(lines[i]), &l))
		assert.Equal(t, kind, l.Kind)
		assert.Equal(t, 1, l.Version)
	}
	testkit.RequireProblem(t, testkit.Send(t, "GET", url+"/feed?format=xml", ""), http.StatusBadRequest, "format")
}

func TestTooManyReadersAreRefused(t *testing.T) {
	_, url := startFeed(t, &fakeClock{})
	for range maxStreams {
		read(t, url, "")
	}
	got := testkit.Send(t, "GET", url+"/feed", "")
	testkit.RequireProblem(t, got, http.StatusServiceUnavailable)
	assert.NotEmpty(t, got.Header.Get("Retry-After"))
}

// To make spans of every POST under load would cost more than it shows.
func TestUnderLoadSomePostsAreFollowed(t *testing.T) {
	spans := NewSpans()
	tracer := sdktrace.NewTracerProvider(spans.Options(false)...).Tracer("")
	began, followed := time.Now().Unix(), 0
	const posts = 5000
	for range posts {
		ctx, post := tracer.Start(t.Context(), "POST", trace.WithSpanKind(trace.SpanKindServer))
		_, child := tracer.Start(ctx, "publish", trace.WithSpanKind(trace.SpanKindProducer))
		assert.Equal(t, post.IsRecording(), child.IsRecording(), "a trace is followed to its end or not at all")
		if post.IsRecording() {
			followed++
		}
	}
	seconds := int(time.Now().Unix() - began + 1)
	assert.GreaterOrEqual(t, followed, tracesLimit)
	assert.LessOrEqual(t, followed, seconds*tracesLimit)
	assert.EqualValues(t, (posts-followed)*hopsOfPost, spans.left.Load())

	_, get := tracer.Start(t.Context(), "GET", trace.WithSpanKind(trace.SpanKindServer))
	assert.False(t, get.IsRecording())
	_, own := tracer.Start(t.Context(), "settle", trace.WithSpanKind(trace.SpanKindClient))
	assert.True(t, own.IsRecording(), "a dead letter in no trace")
}
